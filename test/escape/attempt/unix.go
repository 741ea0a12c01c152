// SPDX-License-Identifier: Apache-2.0

package main

import (
	"path/filepath"

	"golang.org/x/sys/unix"
)

// unixWays reach for unix sockets of the host (R8, P5), which pass descriptors:
// one that connects has a way out.
var unixWays = map[string]way{
	"unix_tmp":      unixStream("unix_tmp"),
	"unix_run":      unixStream("unix_run"),
	"unix_work":     unixStream("unix_work"),
	"unix_home":     unixStream("unix_home"),
	"unix_lib":      unixStream("unix_lib"),
	"unix_shm":      unixStream("unix_shm"),
	"unix_abstract": unixStream("unix_abstract"),
	"unix_relative": unixRelative,
	"unix_link":     unixLinked,
	"unix_rename":   unixRenamed,
	"unix_unlink":   unixUnlinked,
	"unix_proc":     unixThroughProc,
	"unixd_tmp":     unixDatagram("unixd_tmp"),
	"unixd_work":    unixDatagram("unixd_work"),
	"unixd_home":    unixDatagram("unixd_home"),
	"unixd_lib":     unixDatagram("unixd_lib"),
	"unixd_abs":     unixDatagram("unixd_abs"),
	"dbus_system":   unixPath("/run/dbus/system_bus_socket"),
	"dbus_session":  unixPath("/run/user/60990/bus"),
	"dbus_systemd":  unixPath("/run/systemd/private"),
	"resolved":      unixPath("/run/systemd/resolve/io.systemd.Resolve"),
	"nscd":          unixPath("/var/run/nscd/socket"),
	"docker":        unixPath("/var/run/docker.sock"),
	"containerd":    unixPath("/run/containerd/containerd.sock"),
	"x11":           unixPath("/tmp/.X11-unix/X0"),
	"x11_abstract":  unixPath("@/tmp/.X11-unix/X0"),
	"control":       unixPath("/run/phantom-ns/control"),
	"sibling_unix":  unixPath("/tmp/escape-sibling"),
	"sibling_abs":   unixPath("@escape-sibling"),
	"unix_inside":   unixInside,
}

func unixAddress(path string) *unix.SockaddrUnix { return &unix.SockaddrUnix{Name: path} }

func unixPath(path string) way {
	return func() string { return unixConnect(path) }
}

func unixStream(key string) way {
	return func() string { return unixConnect(fact(key)) }
}

// unixConnect connects and takes what descriptors it is sent.
func unixConnect(path string) string {
	var s steps
	fd := socket(unix.AF_UNIX, unix.SOCK_STREAM)
	if !s.did("connect", unix.Connect(fd, unixAddress(path))) {
		return s.String()
	}
	control := make([]byte, 64)
	if !ready(fd, unix.POLLIN) {
		return s.String() + ",silent"
	}
	_, n, _, _, err := unix.Recvmsg(fd, make([]byte, 16), control, 0)
	s.did("recvmsg", err)
	if n > 0 {
		s = append(s, "descriptor")
	}
	return s.String()
}

func unixDatagram(key string) way {
	return func() string {
		var s steps
		fd := socket(unix.AF_UNIX, unix.SOCK_DGRAM)
		s.did("sendto", unix.Sendto(fd, payload, 0, unixAddress(fact(key))))
		return s.String()
	}
}

// unixRelative names the socket in the working directory by its last part.
func unixRelative() string {
	dir, base := filepath.Split(fact("unix_work"))
	if err := unix.Chdir(dir); err != nil {
		return word(err)
	}
	return unixConnect("./" + base)
}

// unixLinked gives the socket another name.
func unixLinked() string {
	var s steps
	path := fact("unix_work")
	s.did("link", unix.Link(path, path+"-linked"))
	s.did("rename", unix.Rename(path, path+"-renamed"))
	return s.String() + "," + unixConnect(path)
}

// unixRenamed gives the folder that the socket is in another name.
func unixRenamed() string {
	var s steps
	path := fact("unix_below")
	from, base := filepath.Split(path)
	to := filepath.Clean(from) + "-renamed"
	s.did("rename", unix.Rename(from, to))
	outcome := s.String() + "," + unixConnect(filepath.Join(to, base))
	unix.Rename(to, from)
	return outcome
}

// unixUnlinked takes away what covers the socket.
func unixUnlinked() string {
	var s steps
	path := fact("unix_below")
	s.did("unlink", unix.Unlink(path))
	s.did("umount", unix.Unmount(path, unix.MNT_DETACH))
	return s.String() + "," + unixConnect(path)
}

// unixThroughProc names the socket by a descriptor of its file.
func unixThroughProc() string {
	var s steps
	fd, err := unix.Open(fact("unix_work"), unix.O_PATH|unix.O_CLOEXEC, 0)
	if !s.did("open", err) {
		return s.String()
	}
	return s.String() + "," + unixConnect("/proc/self/fd/"+string(rune('0'+fd)))
}

// unixInside shows that sockets as such work: the others fail for where they
// lead, not for what they are.
func unixInside() string {
	var s steps
	path := "/tmp/inside.sock"
	server := socket(unix.AF_UNIX, unix.SOCK_STREAM)
	s.did("bind", unix.Bind(server, unixAddress(path)))
	s.did("listen", unix.Listen(server, 1))
	client := socket(unix.AF_UNIX, unix.SOCK_STREAM)
	s.did("connect", unix.Connect(client, unixAddress(path)))
	s.did("unlink", unix.Unlink(path))
	return s.String()
}
