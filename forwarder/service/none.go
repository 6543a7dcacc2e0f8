package service

import (
	"uvs/forwarder/frame"
	"uvs/sched"
)

// noScheduler is what `-s none` sets, which IPVS supports since Linux 4.4: the service
// accepts no new connections (ip_vs_ctl.c, ip_vs_add_service).
type noScheduler struct{}

func (noScheduler) Name() string                                      { return "none" }
func (noScheduler) Pick(*frame.Flow, *sched.Record) *sched.RealServer { return nil }
func (noScheduler) Add(*sched.RealServer)                             {}
func (noScheduler) Remove(*sched.RealServer)                          {}
func (noScheduler) Update(*sched.RealServer)                          {}
func (noScheduler) Count(*sched.RealServer)                           {}
