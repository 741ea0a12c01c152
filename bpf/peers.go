// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/link"
	"golang.org/x/sys/unix"

	"github.com/phantom-ns/phantom-ns/netns/sandbox/mountinfo"
)

// Peers holds the unix sockets of one session to those that the session made and those that its policy exposes, and its
// sockets to families that stay inside the namespace. It is an addition to what mounts and the filter of system calls
// do, for kernels that offer it: Linux 6.0 with CONFIG_BPF_LSM, `bpf` in lsm=, and a description of itself.
//
// The programs are asked about sockets that were made in the cgroups where [Peers.Attach] was called before. They cannot
// be taken away by who is in there.
type Peers struct {
	programs map[string]*ebpf.Program
	maps     *ebpf.Collection
	links    []link.Link // the only references; collected means closed
}

// LoadPeers puts the programs into the kernel. Their refusals are counted and told by the object, as the session's with
// this cookie. Where they cannot be loaded the error is [ErrNotSupported], as nothing depends on them. One of a shortage
// of memory or descriptors is not: it passes.
//
// Where the kernel's fields are takes 50 ms and more to find out, so it is kept in the file cache, which must be gone when
// another kernel boots, and only root's; "": not kept.
func LoadPeers(o *Object, cookie uint64, cache string) (*Peers, error) {
	key, err := o.key(cookie)
	if err != nil {
		return nil, fmt.Errorf("load peers: %w", err)
	}
	p, err := loadPeers(o, key, cache)
	if err != nil {
		return nil, fmt.Errorf("load peers: %w", lack(err))
	}
	return p, nil
}

// lack is err as one of a kernel that has no such programs, unless something was short.
func lack(err error) error {
	if errors.Is(err, unix.ENOMEM) || errors.Is(err, unix.EMFILE) || errors.Is(err, unix.ENFILE) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrNotSupported, err)
}

func loadPeers(o *Object, key uint64, cache string) (*Peers, error) {
	kernel, err := fieldsOf(cache)
	if err != nil {
		return nil, err
	}
	spec, err := loadLsm()
	if err != nil {
		return nil, err
	}
	if err := spec.Variables[lsmVarSession].Set(key); err != nil {
		return nil, fmt.Errorf("set session: %w", err)
	}
	programs := spec.Programs
	spec.Programs = nil
	p := &Peers{programs: map[string]*ebpf.Program{}}
	p.maps, err = ebpf.NewCollectionWithOptions(spec, ebpf.CollectionOptions{MapReplacements: map[string]*ebpf.Map{
		lsmMapLedgers: o.objects.Ledgers,
		lsmMapDenials: o.objects.Denials,
	}})
	if err != nil {
		return nil, err
	}
	for name, program := range programs {
		if p.programs[name], err = kernel.load(program, p.maps.Maps); err != nil {
			return nil, errors.Join(fmt.Errorf("program %s: %w", name, err), p.Close())
		}
	}
	return p, nil
}

// hooks are in the order of attachment: a socket is marked before anyone asks for the mark.
func (p *Peers) hooks() []string {
	return []string{lsmProgSocketCreate, lsmProgSocketPostCreate, lsmProgUnixStreamConnect, lsmProgUnixMaySend}
}

// Attach hangs the programs at a cgroup, before the first process is in it: a socket made earlier is taken for somebody
// else's. On error nothing stays attached, and it is as LoadPeers'.
func (p *Peers) Attach(cgroupDir *os.File) error {
	for _, name := range p.hooks() {
		l, err := link.AttachRawLink(link.RawLinkOptions{
			Target: int(cgroupDir.Fd()), Program: p.programs[name], Attach: ebpf.AttachLSMCgroup,
		})
		if err != nil {
			err = fmt.Errorf("attach peers: %s: cgroup %s: %w", name, cgroupDir.Name(), lack(err))
			return errors.Join(err, p.detach())
		}
		p.links = append(p.links, l)
	}
	return nil
}

// Expose lets the session reach the unix sockets at and below these paths, links followed. A path that is not there, or
// cannot be looked at, exposes nothing.
func (p *Peers) Expose(paths []string) error {
	for _, path := range paths {
		place, err := placeOf(path)
		if err != nil {
			continue
		}
		if err := p.maps.Maps[lsmMapExposed].Put(&place, uint8(1)); err != nil {
			return fmt.Errorf("expose %q: %w", path, err)
		}
	}
	return nil
}

func placeOf(path string) (lsmPlace, error) {
	fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
	if err != nil {
		return lsmPlace{}, err
	}
	defer unix.Close(fd)
	var stat unix.Statx_t
	if err := unix.Statx(fd, "", unix.AT_EMPTY_PATH|unix.AT_STATX_DONT_SYNC, unix.STATX_INO|unix.STATX_MNT_ID, &stat); err != nil {
		return lsmPlace{}, err
	}
	mounts, err := mountinfo.Read()
	if err != nil {
		return lsmPlace{}, err
	}
	at := slices.IndexFunc(mounts, func(m mountinfo.Mount) bool { return m.ID == stat.Mnt_id })
	if at < 0 {
		return lsmPlace{}, os.ErrNotExist
	}
	var major, minor uint64
	if _, err := fmt.Sscanf(mounts[at].Device, "%d:%d", &major, &minor); err != nil {
		return lsmPlace{}, err
	}
	return lsmPlace{Inode: stat.Ino, Device: major<<20 | minor}, nil // MKDEV, linux/kdev_t.h
}

// InForce says whether the kernel has called the programs since they were attached. Where `bpf` is not in lsm= they load
// and attach all the same, and it never does. A socket must have been made in the cgroup before it is asked.
func (p *Peers) InForce() (bool, error) {
	var made uint64
	if err := p.maps.Variables[lsmVarMade].Get(&made); err != nil {
		return false, fmt.Errorf("look whether peers are in force: %w", err)
	}
	return made > 0, nil
}

func (p *Peers) detach() error {
	var errs []error
	for _, l := range p.links {
		errs = append(errs, l.Close())
	}
	p.links = nil
	return errors.Join(errs...)
}

// Close detaches and unloads the programs.
func (p *Peers) Close() error {
	errs := []error{p.detach()}
	for _, program := range p.programs {
		if program != nil {
			errs = append(errs, program.Close())
		}
	}
	p.maps.Close()
	return errors.Join(errs...)
}
