// SPDX-License-Identifier: Apache-2.0

package doctor

import (
	"context"
	"fmt"

	"github.com/phantom-ns/phantom-ns/enforcer"
)

// Status is the outcome of one check.
type Status string

// The three outcomes. A session works with a warning and not with a failure.
const (
	OK   Status = "ok"
	Warn Status = "warn"
	Fail Status = "fail"
)

// Finding is one line of the report.
type Finding struct {
	Check  string `json:"check"` // one word
	Status Status `json:"status"`
	Detail string `json:"detail"` // one line
	Remedy string `json:"remedy,omitempty"`
	Err    error  `json:"-"` // of a failure: a better remedy may be known for it
}

// Config is whose sessions are looked at.
type Config struct {
	Session enforcer.Config // of the agent's user; command and policy are the doctor's own
	// Policy reads the policy that such a session would have; it returns nil
	// where there is none.
	Policy func(*enforcer.Config) error
}

// examination is one run.
type examination struct {
	Config
	report func(Finding)
	failed int
}

// Run makes every check and reports each finding as it is made. It returns how
// many failed.
func Run(ctx context.Context, config Config, report func(Finding)) (failed int) {
	x := &examination{Config: config, report: report}
	for _, check := range []func(){
		x.kernel, x.cgroup, x.seccomp, x.mounts, x.clock, x.roots, x.names, x.store, x.policy,
	} {
		check()
	}
	x.sessions(ctx)
	return x.failed
}

func (x *examination) tell(f Finding) {
	if f.Status == Fail {
		x.failed++
	}
	x.report(f)
}

func (x *examination) ok(check, format string, arguments ...any) {
	x.tell(Finding{Check: check, Status: OK, Detail: fmt.Sprintf(format, arguments...)})
}

func (x *examination) warn(check, remedy, format string, arguments ...any) {
	x.tell(Finding{Check: check, Status: Warn, Remedy: remedy, Detail: fmt.Sprintf(format, arguments...)})
}

func (x *examination) fail(check, remedy string, err error) {
	x.tell(Finding{Check: check, Status: Fail, Remedy: remedy, Detail: err.Error(), Err: err})
}
