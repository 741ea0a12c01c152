# SPDX-License-Identifier: Apache-2.0
import google.auth
import google.auth.transport.requests

scoped, project = google.auth.default(scopes=["https://www.googleapis.com/auth/devstorage.read_only"])
print("project:", project)
answer = google.auth.transport.requests.AuthorizedSession(scoped).get("https://storage.googleapis.com/storage/v1/b/bucket")
print("by token:", answer.status_code, answer.text)
itself = scoped.with_scopes([]).with_always_use_jwt_access(True)
itself._create_self_signed_jwt("https://pubsub.googleapis.com/")
answer = google.auth.transport.requests.AuthorizedSession(itself).get("https://pubsub.googleapis.com/v1/projects/p/topics")
print("by assertion:", answer.status_code, answer.text)
