// SPDX-License-Identifier: Apache-2.0

// Package crash proves that nothing escapes and nothing stays when our own
// processes are killed while an agent does all it can to get out.
package crash
