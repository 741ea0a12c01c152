# SPDX-License-Identifier: Apache-2.0
import urllib.request

import boto3
import botocore.config

# Where regions still take version 2, botocore signs URLs with that.
s3 = boto3.client("s3", config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "virtual"}))
s3.put_object(Bucket="bucket", Key="a b/ü", Body=b"hello")
print("range:", s3.get_object(Bucket="bucket", Key="a b/ü", Range="bytes=0-3")["Body"].read())
print("list:", s3.list_objects_v2(Bucket="bucket", Prefix="a b/")["Name"])
url = s3.generate_presigned_url("get_object", Params={"Bucket": "bucket", "Key": "a b/ü"}, ExpiresIn=60)
print("presigned:", urllib.request.urlopen(url).read())
boto3.client("dynamodb").put_item(TableName="t", Item={"k": {"S": "v"}})
print("account:", boto3.client("sts").get_caller_identity()["Account"])
