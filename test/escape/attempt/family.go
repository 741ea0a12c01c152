// SPDX-License-Identifier: Apache-2.0

package main

import "golang.org/x/sys/unix"

// Protocol numbers that x/sys lacks (include/uapi/linux/in.h, smc.h).
const (
	protoDCCP = 33
	protoL2TP = 115
	protoSMC6 = 1
)

// familyWays open sockets whose packets would not be TCP or UDP (R5, R6).
var familyWays = map[string]way{
	"udplite":       opened(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
	"udplite6":      opened(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_UDPLITE),
	"sctp":          opened(unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP),
	"sctp_many":     opened(unix.AF_INET, unix.SOCK_SEQPACKET, unix.IPPROTO_SCTP),
	"dccp":          opened(unix.AF_INET, unix.SOCK_DCCP, protoDCCP),
	"smc":           opened(unix.AF_SMC, unix.SOCK_STREAM, 0),
	"smc6":          opened(unix.AF_SMC, unix.SOCK_STREAM, protoSMC6),
	"smc_inet":      opened(unix.AF_INET, unix.SOCK_STREAM, 256), // IPPROTO_SMC, Linux 6.11
	"l2tp":          opened(unix.AF_INET, unix.SOCK_DGRAM, protoL2TP),
	"ping4":         opened(unix.AF_INET, unix.SOCK_DGRAM, unix.IPPROTO_ICMP),
	"ping6":         opened(unix.AF_INET6, unix.SOCK_DGRAM, unix.IPPROTO_ICMPV6),
	"raw_icmp":      opened(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP),
	"raw_icmp6":     opened(unix.AF_INET6, unix.SOCK_RAW, unix.IPPROTO_ICMPV6),
	"raw_tcp":       opened(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_TCP),
	"raw_hdrincl":   opened(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW),
	"packet":        opened(unix.AF_PACKET, unix.SOCK_RAW, unix.ETH_P_ALL<<8),
	"packet_dgram":  opened(unix.AF_PACKET, unix.SOCK_DGRAM, unix.ETH_P_IP<<8),
	"packet_old":    opened(unix.AF_INET, 10, unix.ETH_P_ALL<<8), // SOCK_PACKET
	"xdp":           opened(unix.AF_XDP, unix.SOCK_RAW, 0),
	"vsock":         opened(unix.AF_VSOCK, unix.SOCK_STREAM, 0),
	"vsock_dgram":   opened(unix.AF_VSOCK, unix.SOCK_DGRAM, 0),
	"vsock_packet":  opened(unix.AF_VSOCK, unix.SOCK_SEQPACKET, 0),
	"vsock_flags":   opened(unix.AF_VSOCK, unix.SOCK_STREAM|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0),
	"vsock_high":    openedHigh(unix.AF_VSOCK),
	"vsock_pair":    paired(unix.AF_VSOCK),
	"vsock_device":  openedFile("/dev/vsock"),
	"alg":           opened(unix.AF_ALG, unix.SOCK_SEQPACKET, 0),
	"key":           opened(unix.AF_KEY, unix.SOCK_RAW, 2),
	"bluetooth":     opened(unix.AF_BLUETOOTH, unix.SOCK_RAW, 1),
	"tipc":          opened(unix.AF_TIPC, unix.SOCK_STREAM, 0),
	"rds":           opened(unix.AF_RDS, unix.SOCK_SEQPACKET, 0),
	"can":           opened(unix.AF_CAN, unix.SOCK_RAW, 1),
	"kcm":           opened(unix.AF_KCM, unix.SOCK_DGRAM, 0),
	"qrtr":          opened(unix.AF_QIPCRTR, unix.SOCK_DGRAM, 0),
	"rxrpc":         opened(unix.AF_RXRPC, unix.SOCK_DGRAM, unix.AF_INET),
	"pppox":         opened(unix.AF_PPPOX, unix.SOCK_DGRAM, 0),
	"llc":           opened(unix.AF_LLC, unix.SOCK_DGRAM, 0),
	"appletalk":     opened(unix.AF_APPLETALK, unix.SOCK_DGRAM, 0),
	"ieee802154":    opened(unix.AF_IEEE802154, unix.SOCK_DGRAM, 0),
	"nfc":           opened(unix.AF_NFC, unix.SOCK_RAW, 0),
	"mctp":          opened(unix.AF_MCTP, unix.SOCK_DGRAM, 0),
	"every_family":  everyFamily,
	"nl_diag":       opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_SOCK_DIAG),
	"nl_netfilter":  opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_NETFILTER),
	"nl_generic":    opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_GENERIC),
	"nl_uevent":     opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_KOBJECT_UEVENT),
	"nl_audit":      opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_AUDIT),
	"nl_xfrm":       opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_XFRM),
	"nl_crypto":     opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_CRYPTO),
	"nl_connector":  opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_CONNECTOR),
	"nl_user":       opened(unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_USERSOCK),
	"nl_all_others": everyNetlink,
}

// opened makes a socket: refused is the only good outcome.
func opened(family, kind, protocol int) way {
	return func() string {
		var s steps
		_, err := unix.Socket(family, kind, protocol)
		s.did("socket", err)
		return s.String()
	}
}

// openedHigh sets bits of the argument that the kernel does not look at, and a
// filter might.
func openedHigh(family uintptr) way {
	return func() string {
		var s steps
		s.did("socket", call(unix.SYS_SOCKET, family|1<<32, unix.SOCK_STREAM, 0))
		return s.String()
	}
}

func paired(family int) way {
	return func() string {
		var s steps
		_, err := unix.Socketpair(family, unix.SOCK_STREAM, 0)
		s.did("socketpair", err)
		return s.String()
	}
}

// everyFamily tries every number of a family in every kind, and says which can
// be had.
func everyFamily() string {
	return had(0, 64, func(number int) bool {
		for kind := unix.SOCK_STREAM; kind <= unix.SOCK_SEQPACKET; kind++ {
			for protocol := range 4 {
				if fd, err := unix.Socket(number, kind, protocol); err == nil {
					unix.Close(fd)
					return true
				}
			}
		}
		return false
	})
}

// everyNetlink does so with the protocols of netlink (MAX_LINKS is 32).
func everyNetlink() string {
	return had(0, 32, func(number int) bool {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, number)
		if err == nil {
			unix.Close(fd)
		}
		return err == nil
	})
}
