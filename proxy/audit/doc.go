// SPDX-License-Identifier: Apache-2.0

// Package audit holds the record of every decision a session takes, and the
// only code that writes or reads it.
//
// It guarantees that
//
//   - one record is one line: whatever bytes a field holds, the line has one
//     newline, its last byte, and nothing in it that a terminal obeys;
//   - a line has a bounded length ([MaxLine]): each field is cut at its own cap;
//   - kinds, verdicts and reasons come from closed lists, on writing and on
//     reading;
//   - a path never carries a query;
//   - the lines of one session form a chain: seq counts from 1 and prev is the
//     hash of the session's line before, so that [Verify] finds a line that was
//     changed, removed, inserted or moved. A chain cut off at its end is not
//     found: only a last record with reason session_end says that it is whole;
//   - a record that did not reach the file is an error of [Log.Write], the file
//     holds no part of it where the file system allows that, and the chain goes
//     on as if it had not been tried.
//
// The proxy encodes records into a pipe ([Encoder]); the supervisor decodes
// them ([Decoder]), distrusts them, and is the only writer of the log ([Log], [File]).
package audit
