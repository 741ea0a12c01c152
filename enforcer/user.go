// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// User is who the agent runs as. It is never root.
type User struct {
	Name   string
	UID    int
	GID    int
	Groups []int
	Home   string
	Shell  string
}

var (
	// ErrRootAgent is returned when the agent would run as uid 0.
	ErrRootAgent = errors.New("the agent never runs as root")
	// ErrNoUser is returned for a user that the system does not know.
	ErrNoUser = errors.New("no such user")
)

// FindUser returns the user named by name (a login name or a number), or,
// where name is empty, the one who called sudo according to sudoUID.
func FindUser(name, sudoUID string) (User, error) {
	who := name
	if who == "" {
		who = sudoUID
	}
	if who == "" {
		return User{}, ErrRootAgent
	}
	account, err := user.LookupId(who)
	if err != nil {
		account, err = user.Lookup(who)
	}
	if err != nil {
		return User{}, fmt.Errorf("user %q: %w", who, ErrNoUser)
	}
	u := User{Name: account.Username, Home: filepath.Clean(account.HomeDir), Shell: "/bin/sh"}
	if u.UID, err = strconv.Atoi(account.Uid); err != nil {
		return User{}, fmt.Errorf("user %q: uid %q: %w", who, account.Uid, err)
	}
	if u.GID, err = strconv.Atoi(account.Gid); err != nil {
		return User{}, fmt.Errorf("user %q: gid %q: %w", who, account.Gid, err)
	}
	if u.UID == 0 {
		return User{}, ErrRootAgent
	}
	groups, err := account.GroupIds()
	if err != nil {
		return User{}, fmt.Errorf("user %q: groups: %w", who, err)
	}
	for _, g := range groups {
		gid, err := strconv.Atoi(g)
		if err != nil {
			return User{}, fmt.Errorf("user %q: group %q: %w", who, g, err)
		}
		u.Groups = append(u.Groups, gid)
	}
	return u, nil
}

// privileged groups turn membership into root on common systems: through a
// daemon's socket, a raw disk or the shadow file. The agent does not get them.
var privilegedGroups = []string{"root", "disk", "shadow", "docker", "lxd", "incus", "libvirt", "kvm", "kmem", "sudo", "wheel", "adm", "systemd-journal", "phantom-ns"}

// dropPrivilegedGroups returns the groups that the agent keeps.
func dropPrivilegedGroups(gids []int) []int {
	return slices.DeleteFunc(slices.Clone(gids), func(gid int) bool {
		if gid == 0 {
			return true
		}
		g, err := user.LookupGroupId(strconv.Itoa(gid))
		return err == nil && slices.Contains(privilegedGroups, g.Name)
	})
}

// The range of systemd's DynamicUser= (systemd.exec(5), systemd's
// UIDS-GIDS.md). No package and no person owns a uid in it.
const (
	dynamicUIDMin = 61184
	dynamicUIDMax = 65519
)

// proxyUser is the account that the system's administrator may have made for
// the proxy.
const proxyUser = "phantom-ns"

// claimUIDs lets one session at a time pick a uid and start its proxy: until
// the process exists nothing shows that the uid is taken.
func claimUIDs() (release func() error, err error) {
	dir, err := lockStateDir(unix.LOCK_EX)
	if err != nil {
		return nil, fmt.Errorf("pick a uid for the proxy: %w", err)
	}
	return dir.Close, nil
}

// proxyUID picks the uid and gid of the proxy: neither root's nor the agent's.
func proxyUID(agent int) (uid, gid int, err error) {
	if account, err := user.Lookup(proxyUser); err == nil {
		uid, uerr := strconv.Atoi(account.Uid)
		gid, gerr := strconv.Atoi(account.Gid)
		if uerr == nil && gerr == nil && uid != 0 && uid != agent {
			return uid, gid, nil
		}
	}
	used, err := usedUIDs()
	if err != nil {
		return 0, 0, err
	}
	for uid := dynamicUIDMin; uid <= dynamicUIDMax; uid++ {
		if uid == agent || used[uid] {
			continue
		}
		if _, err := user.LookupId(strconv.Itoa(uid)); err != nil {
			return uid, uid, nil
		}
	}
	return 0, 0, fmt.Errorf("pick a uid for the proxy: none is free between %d and %d", dynamicUIDMin, dynamicUIDMax)
}

// usedUIDs returns the uids that own a process now.
func usedUIDs() (map[int]bool, error) {
	proc, err := os.Open("/proc")
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	defer proc.Close()
	names, err := proc.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("list processes: %w", err)
	}
	used := make(map[int]bool)
	for _, name := range names {
		if name[0] < '0' || name[0] > '9' {
			continue
		}
		var st unix.Stat_t
		if unix.Stat("/proc/"+name+"/status", &st) == nil {
			used[int(st.Uid)] = true
		}
	}
	return used, nil
}
