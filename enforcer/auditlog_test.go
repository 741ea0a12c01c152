// SPDX-License-Identifier: Apache-2.0

package enforcer

import (
	"testing"

	"github.com/phantom-ns/phantom-ns/bpf"
)

// A word that the audit does not know would end the watching of denials.
func TestEveryKernelReasonIsAnAuditReason(t *testing.T) {
	for _, reason := range bpf.Reasons() {
		if reason.Errno() == 0 {
			continue
		}
		if r := denialRecord(bpf.Denial{Reason: reason}); r.Check() != nil {
			t.Errorf("reason %q: %v", reason, r.Check())
		}
	}
}
