// SPDX-License-Identifier: Apache-2.0

package mint

import (
	"strconv"
	"time"
)

// Where a number stops being seconds from now (30 years) and becomes seconds
// since 1970, and where those become milliseconds (the year 5138).
const (
	sinceEpoch  = 1e9
	millisSince = 1e11
)

// Time reads when a token ends, as endpoints say it: seconds from now, a Unix
// time in seconds or milliseconds, or RFC 3339.
func Time(text string, now time.Time) (time.Time, bool) {
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, true
	}
	n, err := strconv.ParseFloat(text, 64)
	switch {
	case err != nil || !(n >= 0 && n <= 1e15): // NaN is not
		return time.Time{}, false
	case n < sinceEpoch:
		return now.Add(time.Duration(n * float64(time.Second))), true
	case n < millisSince:
		return time.Unix(int64(n), 0), true
	}
	return time.UnixMilli(int64(n)), true
}
