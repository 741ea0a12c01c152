// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

// MARKS replaces each byte of v by the weight of its place among eight when it
// is a mark, else by zero.
#define MARKS(v) \
	VCMEQ V4.B16, v.B16, V16.B16    \
	VCMEQ V5.B16, v.B16, V17.B16    \
	VCMEQ V6.B16, v.B16, V18.B16    \
	VCMEQ V7.B16, v.B16, V19.B16    \
	VORR  V16.B16, V17.B16, V16.B16 \
	VORR  V18.B16, V19.B16, V18.B16 \
	VORR  V16.B16, V18.B16, V16.B16 \
	VAND  V16.B16, V8.B16, v.B16

// func marksOf(b *[64]byte) uint64
TEXT ·marksOf(SB), NOSPLIT, $0-16
	MOVD  b+0(FP), R0
	VLD1  (R0), [V0.B16, V1.B16, V2.B16, V3.B16]
	VMOVI $0x25, V4.B16
	VMOVI $0x5c, V5.B16
	VMOVI $0x26, V6.B16
	VMOVI $0x0a, V7.B16
	MOVD  $0x8040201008040201, R1
	VDUP  R1, V8.D2
	MARKS(V0)
	MARKS(V1)
	MARKS(V2)
	MARKS(V3)
	// Three times the sum of neighbours: eight weights are a byte of the set.
	VADDP V1.B16, V0.B16, V0.B16
	VADDP V3.B16, V2.B16, V2.B16
	VADDP V2.B16, V0.B16, V0.B16
	VADDP V0.B16, V0.B16, V0.B16
	VMOV  V0.D[0], R0
	MOVD  R0, ret+8(FP)
	RET
