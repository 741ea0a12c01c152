// SPDX-License-Identifier: Apache-2.0

#include "textflag.h"

DATA percent<>+0(SB)/8, $0x2525252525252525
DATA percent<>+8(SB)/8, $0x2525252525252525
GLOBL percent<>(SB), RODATA|NOPTR, $16
DATA backslash<>+0(SB)/8, $0x5c5c5c5c5c5c5c5c
DATA backslash<>+8(SB)/8, $0x5c5c5c5c5c5c5c5c
GLOBL backslash<>(SB), RODATA|NOPTR, $16
DATA ampersand<>+0(SB)/8, $0x2626262626262626
DATA ampersand<>+8(SB)/8, $0x2626262626262626
GLOBL ampersand<>(SB), RODATA|NOPTR, $16
DATA newline<>+0(SB)/8, $0x0a0a0a0a0a0a0a0a
DATA newline<>+8(SB)/8, $0x0a0a0a0a0a0a0a0a
GLOBL newline<>(SB), RODATA|NOPTR, $16

// MARKS puts into the low 16 bits of to which of the bytes at offset are marks.
#define MARKS(offset, to) \
	MOVOU offset(SI), X4 \
	MOVO X4, X5          \
	MOVO X4, X6          \
	MOVO X4, X7          \
	PCMPEQB X0, X4       \
	PCMPEQB X1, X5       \
	PCMPEQB X2, X6       \
	PCMPEQB X3, X7       \
	POR X5, X4           \
	POR X7, X6           \
	POR X6, X4           \
	PMOVMSKB X4, to

// func marksOf(b *[64]byte) uint64
TEXT ·marksOf(SB), NOSPLIT, $0-16
	MOVQ b+0(FP), SI
	MOVOU percent<>(SB), X0
	MOVOU backslash<>(SB), X1
	MOVOU ampersand<>(SB), X2
	MOVOU newline<>(SB), X3
	MARKS(0, AX)
	MARKS(16, BX)
	MARKS(32, CX)
	MARKS(48, DX)
	SHLQ $16, BX
	SHLQ $32, CX
	SHLQ $48, DX
	ORQ BX, AX
	ORQ DX, CX
	ORQ CX, AX
	MOVQ AX, ret+8(FP)
	RET
