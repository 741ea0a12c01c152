// SPDX-License-Identifier: Apache-2.0

package sign

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/iotest"
)

// The examples of AWS's reference: "Authenticating Requests" of the S3 API, and
// of the IAM user guide. Keys and signatures are AWS's.
const (
	exampleID     = "AKIAIOSFODNN7EXAMPLE"
	exampleSecret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
	emptyHash     = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
)

var exampleKeys = Keys{ID: []byte(exampleID), Secret: []byte(exampleSecret)}

// head is a header of an S3 request on 24 May 2013, signed over the names.
func head(names, signature string, fields ...string) http.Header {
	h := http.Header{"X-Amz-Date": {"20130524T000000Z"}}
	for i := 0; i < len(fields); i += 2 {
		h[fields[i]] = []string{fields[i+1]}
	}
	h["Authorization"] = []string{"AWS4-HMAC-SHA256 Credential=" + exampleID + "/20130524/us-east-1/s3/aws4_request," +
		"SignedHeaders=" + names + ",Signature=" + signature}
	return h
}

func examples() map[string]*Request {
	const bucket = "examplebucket.s3.amazonaws.com"
	return map[string]*Request{
		"get object": {Method: "GET", Host: bucket, Target: "/test.txt", Header: head("host;range;x-amz-content-sha256;x-amz-date",
			"f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41", "Range", "bytes=0-9", "X-Amz-Content-Sha256", emptyHash)},
		"put object": {Method: "PUT", Host: bucket, Target: "/test$file.text", Header: head("date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class",
			"98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd", "Date", "Fri, 24 May 2013 00:00:00 GMT",
			"X-Amz-Content-Sha256", "44ce7dd67c959e0d3524ffac1771dfbba87d2b6b4b4e99e42034a8b803f8b072", "X-Amz-Storage-Class", "REDUCED_REDUNDANCY")},
		"query without a value": {Method: "GET", Host: bucket, Target: "/?lifecycle", Header: head("host;x-amz-content-sha256;x-amz-date",
			"fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543", "X-Amz-Content-Sha256", emptyHash)},
		"query": {Method: "GET", Host: bucket, Target: "/?max-keys=2&prefix=J", Header: head("host;x-amz-content-sha256;x-amz-date",
			"34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7", "X-Amz-Content-Sha256", emptyHash)},
	}
}

func TestReferencesSignaturesAreVerified(t *testing.T) {
	for name, r := range examples() {
		t.Run(name, func(t *testing.T) {
			s, ours, err := FromHeader(r.Header)
			if err != nil || !ours || s.ID != exampleID {
				t.Fatal(s, ours, err)
			}
			if err := s.Verify(exampleKeys, r); err != nil {
				t.Fatal(err)
			}
			if err := s.Verify(Keys{ID: exampleKeys.ID, Secret: []byte(strings.ToLower(exampleSecret))}, r); !errors.Is(err, ErrMismatch) {
				t.Errorf("another secret: %v", err)
			}
			for what, change := range map[string]func(*Request){
				"method": func(r *Request) { r.Method = "DELETE" },
				"host":   func(r *Request) { r.Host = "other.s3.amazonaws.com" },
				"path":   func(r *Request) { r.Target = "/other" },
				"query":  func(r *Request) { r.Target += "&acl" },
				"field":  func(r *Request) { r.Header["X-Amz-Content-Sha256"] = []string{unsigned} },
			} {
				changed := *r
				changed.Header = r.Header.Clone()
				change(&changed)
				if changed.Target == r.Target+"&acl" && !strings.Contains(r.Target, "?") {
					continue // a path with "&" in it, and the path is changed above
				}
				if err := s.Verify(exampleKeys, &changed); !errors.Is(err, ErrMismatch) {
					t.Errorf("%s changed: %v", what, err)
				}
			}
		})
	}
}

// The reference's own service for the IAM example, whose body's hash is in no
// field.
func TestHashOfTheBodyIsComputed(t *testing.T) {
	keys := Keys{ID: []byte("AKIDEXAMPLE00000"), Secret: []byte("wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY")}
	r := &Request{Method: "GET", Host: "iam.amazonaws.com", Target: "/?Action=ListUsers&Version=2010-05-08", Header: http.Header{
		"X-Amz-Date":   {"20150830T123600Z"},
		"Content-Type": {"application/x-www-form-urlencoded; charset=utf-8"},
		"Authorization": {"AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE00000/20150830/us-east-1/iam/aws4_request, SignedHeaders=content-type;host;x-amz-date, " +
			"Signature=5d672d79c15b13162d9279b0855cfba6789a8edb4c82c400e06b5924a6f2b5d7"},
	}}
	if !NeedsContent(r.Header, r.Target) {
		t.Error("the body's hash is taken to be in a field")
	}
	s, _, err := FromHeader(r.Header)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(keys, r); err != nil {
		t.Fatal(err)
	}
	r.Content = []byte("{}")
	if err := s.Verify(keys, r); !errors.Is(err, ErrMismatch) {
		t.Errorf("another body: %v", err)
	}
}

const examplePresigned = "/test.txt?X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request" +
	"&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404"

func TestReferencesPresignedURL(t *testing.T) {
	r := &Request{Method: "GET", Host: "examplebucket.s3.amazonaws.com", Target: examplePresigned, Header: http.Header{}}
	s, ours, err := FromQuery(r.Target)
	if err != nil || !ours {
		t.Fatal(ours, err)
	}
	if err := s.Verify(exampleKeys, r); err != nil {
		t.Fatal(err)
	}
	s.Sign(exampleKeys, r)
	if r.Target != examplePresigned {
		t.Errorf("signed again with the same key:\n%s", r.Target)
	}
}

// exampleStream is the reference's chunked upload: 65,536, 1,024 and 0 bytes.
func exampleStream(signatures ...string) []byte {
	var b bytes.Buffer
	for i, size := range []int{65536, 1024, 0} {
		b.WriteString([]string{"10000", "400", "0"}[i] + ";chunk-signature=" + signatures[i] + "\r\n")
		b.WriteString(strings.Repeat("a", size) + "\r\n")
	}
	return b.Bytes()
}

var exampleChunks = []string{
	"ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648",
	"0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497",
	"b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9",
}

func TestReferencesStream(t *testing.T) {
	r := &Request{Method: "PUT", Host: "s3.amazonaws.com", Target: "/examplebucket/chunkObject.txt", Length: 66824, Header: head(
		"content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;x-amz-decoded-content-length;x-amz-storage-class",
		"4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9", "Content-Encoding", "aws-chunked",
		"X-Amz-Content-Sha256", streamSigned, "X-Amz-Decoded-Content-Length", "66560", "X-Amz-Storage-Class", "REDUCED_REDUNDANCY")}
	s, _, err := FromHeader(r.Header)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Verify(exampleKeys, r); err != nil {
		t.Fatal(err)
	}
	s.Sign(exampleKeys, r)
	stream := s.Stream(exampleKeys)
	zeros := strings.Repeat("0", 64)
	want, given := exampleStream(exampleChunks...), exampleStream(zeros, zeros, zeros)
	for name, source := range map[string]io.Reader{
		"whole": bytes.NewReader(given), "byte by byte": iotest.OneByteReader(bytes.NewReader(given)), "with its end": iotest.DataErrReader(bytes.NewReader(given)),
	} {
		got, err := io.ReadAll(stream.Reader(source))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v, %d bytes of %d", name, err, len(got), len(want))
		}
	}
}

func TestBadStreamsEnd(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	stream := &Stream{key: make([]byte, 32), context: "\nx\ny\n", seed: zeros}
	chunk := "1;chunk-signature=" + zeros + "\r\na\r\n"
	last := "0;chunk-signature=" + zeros + "\r\n"
	for name, c := range map[string]struct {
		text string
		want error
	}{
		"no signature":       {"1\r\na\r\n", ErrStream},
		"extension":          {"1;x=y;chunk-signature=" + zeros + "\r\na\r\n", ErrStream},
		"bare LF":            {strings.Replace(chunk, "\r\n", "\n", 1), ErrStream},
		"no CRLF after data": {strings.Replace(chunk, "a\r\n", "aa", 1) + last, ErrStream},
		"too long":           {"100001;chunk-signature=" + zeros + "\r\n", ErrStream},
		"not a size":         {"-1;chunk-signature=" + zeros + "\r\n", ErrStream},
		"an endless line":    {strings.Repeat("a", 1<<20), ErrStream},
		"cut in data":        {chunk[:len(chunk)-3], io.ErrUnexpectedEOF},
		"no last chunk":      {chunk, io.ErrUnexpectedEOF},
		"more after it":      {last + "\r\nx", ErrStream},
		"a trailer unasked":  {last + "x-amz-checksum-crc32:AA==\r\n\r\n", ErrStream},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := io.ReadAll(stream.Reader(strings.NewReader(c.text))); !errors.Is(err, c.want) {
				t.Errorf("%v; want %v", err, c.want)
			}
		})
	}
}

func TestTrailerIsSigned(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	keys := signingKey([]byte(exampleSecret), "20130524/us-east-1/s3/aws4_request")
	stream := &Stream{key: keys, context: "\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n", trailer: true,
		seed: "106e2a8a18243abcf37539882f36619c00e2dfc72633413f02d3b74544bfeb8e"}
	given := "10000;chunk-signature=" + zeros + "\r\n" + strings.Repeat("a", 65536) + "\r\n" +
		"400;chunk-signature=" + zeros + "\r\n" + strings.Repeat("a", 1024) + "\r\n" +
		"0;chunk-signature=" + zeros + "\r\n" + "x-amz-checksum-crc32c:sOO8/Q==\r\n" + "x-amz-trailer-signature:" + zeros + "\r\n\r\n"
	got, err := io.ReadAll(stream.Reader(strings.NewReader(given)))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{ // of the reference's example with a trailer
		"b474d8862b1487a5145d686f57f013e54db672cee1c953b3010fb58501ef5aa2",
		"1c1344b170168f8e65b41376b44b20fe354e373826ccbbe2c1d40a8cae51e5c7",
		"2ca2aba2005185cf7159c6277faf83795951dd77a3a99e6e65d5c9f85863f992",
		"x-amz-trailer-signature:d81f82fc3505edab99d459891051a732e8730629a2e4a59689829ca17fe2e435",
	} {
		if !bytes.Contains(got, []byte(want)) {
			t.Errorf("no %s", want)
		}
	}
}

// SigV4A is refused as what it is, not taken for somebody's scheme.
func TestAsymmetricIsMalformed(t *testing.T) {
	header := http.Header{"X-Amz-Date": {"20150830T123600Z"}, "Authorization": {
		"AWS4-ECDSA-P256-SHA256 Credential=AKIDEXAMPLE00000/20150830/s3/aws4_request, SignedHeaders=host;x-amz-date;x-amz-region-set, Signature=3046022100"}}
	if _, ours, err := FromHeader(header); !ours || !errors.Is(err, ErrMalformed) {
		t.Errorf("%v, %v", ours, err)
	}
	if _, ours, err := FromQuery("/?X-Amz-Algorithm=AWS4-ECDSA-P256-SHA256&X-Amz-Signature=30"); !ours || !errors.Is(err, ErrMalformed) {
		t.Errorf("presigned: %v, %v", ours, err)
	}
}
