package daemon

import "syscall"

// ownDescriptors is how many descriptors are left to the daemon itself, for its spool,
// its state and its calls of the admin side, which must not fail because somebody
// opens connections.
const ownDescriptors = 256

// maxConns is how many connections each of two listeners may have open, by how many
// descriptors the process may have, which Go has set to the most that it may set; 0 is
// no bound.
func maxConns() int {
	var limit syscall.Rlimit
	if syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit) != nil {
		return 0
	}
	all := int(min(limit.Cur, 1<<30))
	return max(all-ownDescriptors, all/2, 2) / 2
}
