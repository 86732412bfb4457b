// What a client reads of an error: code, message and details.
#include "gateway/rpc/status.h"

#include <gtest/gtest.h>

#include "gateway/field_error.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"

namespace shardline {
namespace {

TEST(Status, AFieldsPathIsInTheDetailsAndTheMessage) {
  const grpc::Status status = ToGrpc(FieldError("sampling.top_p", "2 is out of range"));
  EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
  EXPECT_EQ(status.error_message(), "sampling.top_p: 2 is out of range");
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::BadRequest bad_request;
  ASSERT_TRUE(details.details(0).UnpackTo(&bad_request));
  EXPECT_EQ(bad_request.field_violations(0).field(), "sampling.top_p");
}

TEST(Status, ATimeToRetryIsInTheDetails) {
  const grpc::Status status = ToGrpc(RetryLater(1.5, "full"));
  google::rpc::Status details;
  ASSERT_TRUE(details.ParseFromString(status.error_details()));
  google::rpc::RetryInfo retry;
  ASSERT_TRUE(details.details(0).UnpackTo(&retry));
  EXPECT_EQ(retry.retry_delay().seconds(), 1);
  EXPECT_EQ(retry.retry_delay().nanos(), 500'000'000);
}

TEST(Status, WhatAMessageQuotesStaysOneLineOfWellFormedText) {
  const grpc::Status status = ToGrpc(FieldError("chat", "it says 'a\nb\xC3'"));
  EXPECT_EQ(status.error_message(), "chat: it says 'a b\xEF\xBF\xBD'");
  google::rpc::Status details;
  EXPECT_TRUE(details.ParseFromString(status.error_details()));
}

}  // namespace
}  // namespace shardline
