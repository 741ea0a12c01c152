// SPDX-License-Identifier: Apache-2.0

package bpf

import (
	"errors"
	"slices"
)

// Missing lists what of the kernel's features is not there: those without
// which nothing runs, and those without which the legacy object serves. The
// error is of a probe that could not tell.
func Missing() (floor, full []*FeatureError, err error) {
	if floor, err = missing(slices.Concat(floorFeatures, steerFeatures)); err != nil {
		return nil, nil, err
	}
	full, err = missing(fullFeatures)
	return floor, full, err
}

func missing(list []feature) (out []*FeatureError, err error) {
	for _, f := range list {
		err := check([]feature{f})
		var lacks *FeatureError
		if errors.As(err, &lacks) {
			out = append(out, lacks)
		} else if err != nil {
			return nil, err
		}
	}
	return out, nil
}
