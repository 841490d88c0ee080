package cluster

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"runtime"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// netnsDir is where `ip netns` keeps the named network namespaces.
const netnsDir = "/run/netns"

// createNetwork makes the cluster's network namespace and joins it to ours, as a cable joins two hosts. Bridge, pods'
// addresses and nft rules live and die with the namespace.
func (c Cluster) createNetwork() error {
	space, err := newNamedNetns(c.netns())
	if err != nil {
		return fmt.Errorf("network namespace: %w", err)
	}
	defer space.Close()
	cable := &netlink.Veth{
		LinkAttrs:     netlink.LinkAttrs{Name: c.link()},
		PeerName:      "eth0",
		PeerNamespace: netlink.NsFd(int(space)),
	}
	if err := netlink.LinkAdd(cable); err != nil {
		return fmt.Errorf("veth pair %s: %w", c.link(), err)
	}
	host, err := netlink.NewHandle()
	if err != nil {
		return err
	}
	defer host.Close()
	if err := address(host, c.link(), c.HostAddress()); err != nil {
		return err
	}
	inside, err := netlink.NewHandleAt(space)
	if err != nil {
		return err
	}
	defer inside.Close()
	loopback, err := inside.LinkByName("lo")
	if err != nil {
		return err
	}
	if err := inside.LinkSetUp(loopback); err != nil {
		return err
	}
	if err := address(inside, "eth0", c.NodeAddress()); err != nil {
		return err
	}
	return inside.RouteAdd(&netlink.Route{Gw: net.ParseIP(c.HostAddress())})
}

func address(handle *netlink.Handle, name, ip string) error {
	link, err := handle.LinkByName(name)
	if err != nil {
		return err
	}
	addr, err := netlink.ParseAddr(ip + "/30")
	if err != nil {
		return err
	}
	if err := handle.AddrAdd(link, addr); err != nil {
		return fmt.Errorf("address %s of %s: %w", ip, name, err)
	}
	return handle.LinkSetUp(link)
}

// newNamedNetns makes the namespace on a thread that ends with it: netns.NewNamed moves its caller there.
func newNamedNetns(name string) (netns.NsHandle, error) {
	var space netns.NsHandle
	var err error
	onOwnThread(func() {
		space, err = netns.NewNamed(name)
	})
	return space, err
}

// onOwnThread runs f on a thread that is thrown away afterwards, and that is not the main one, whose namespaces are what
// the kernel shows as those of the process.
func onOwnThread(f func()) {
	done := make(chan struct{})
	go func() {
		runtime.LockOSThread()
		if unix.Gettid() == unix.Getpid() {
			// While this goroutine waits, holding the main thread, the next one gets another.
			onOwnThread(f)
			runtime.UnlockOSThread()
			close(done)
			return
		}
		// Never unlocked: the thread ends with the goroutine.
		defer close(done)
		f()
	}()
	<-done
}

// deleteNetwork removes our end of the veth pair, and with it the other, and the name of the namespace, which ends once
// nothing runs in it.
func (c Cluster) deleteNetwork() error {
	if c.Number > 0 {
		link, err := netlink.LinkByName(c.link())
		if err == nil {
			err = netlink.LinkDel(link)
		}
		if err != nil && !errors.As(err, new(netlink.LinkNotFoundError)) {
			return fmt.Errorf("link %s: %w", c.link(), err)
		}
	}
	err := netns.DeleteNamed(c.netns())
	if errors.Is(err, unix.EINVAL) {
		// The name without the namespace, as a reboot leaves it.
		err = os.Remove(netnsDir + "/" + c.netns())
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("network namespace %s: %w", c.netns(), err)
	}
	return nil
}

// freeNumber finds a number whose addresses and link nobody uses: neither a cluster nor anything else on this machine.
func freeNumber(taken map[int]bool) (int, error) {
	addresses, err := net.InterfaceAddrs()
	if err != nil {
		return 0, err
	}
	for number := 1; number < 255; number++ {
		c := Cluster{Number: number}
		if taken[number] || overlaps(addresses, c.NodeAddress()) {
			continue
		}
		if _, err := net.InterfaceByName(c.link()); err == nil {
			continue
		}
		return number, nil
	}
	return 0, errors.New("no address range left in 10.200.0.0/16: end a cluster with `localkube down --name NAME`")
}

func overlaps(addresses []net.Addr, ip string) bool {
	for _, address := range addresses {
		if network, ok := address.(*net.IPNet); ok && network.Contains(net.ParseIP(ip)) {
			return true
		}
	}
	return false
}
