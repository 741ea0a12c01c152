#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# What scripts do with the AWS CLI.
set -e
aws=/usr/bin/aws
printf hello >object
$aws s3 cp --only-show-errors object 's3://bucket/a b'
echo "copied: $($aws s3 cp --only-show-errors 's3://bucket/a b' -)"
printf streamed | $aws s3 cp --only-show-errors - s3://bucket/stream
echo "list: $($aws s3api list-objects-v2 --no-paginate --bucket bucket --query Name --output text)"
echo "presigned: $(curl -sSf "$($aws s3 presign 's3://bucket/a b' --expires-in 60)")"
echo "account: $($aws sts get-caller-identity --query Account --output text)"
$aws sts assume-role --role-arn arn:aws:iam::1:role/r --role-session-name session --output text \
	--query 'Credentials.[AccessKeyId,SecretAccessKey,SessionToken]' >assumed
read -r id secret token <assumed
echo "assumed: $(AWS_ACCESS_KEY_ID=$id AWS_SECRET_ACCESS_KEY=$secret AWS_SESSION_TOKEN=$token $aws s3 cp --only-show-errors s3://bucket/role -)"
password=$($aws ecr get-login-password)
echo "registry: $(curl -sSf --user "AWS:$password" https://1.dkr.ecr.eu-west-1.amazonaws.com/v2/)"
