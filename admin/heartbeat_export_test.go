package admin

import "time"

// SetTailHeartbeat lets tests see heartbeats without waiting for long.
func (s *Server) SetTailHeartbeat(d time.Duration) { s.hub.heartbeat = d }
