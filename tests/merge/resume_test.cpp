// Merges that were interrupted, made in parts or stand in the way: the same bytes, or a refusal.
#include "core/parallel.h"
#include "formats/output_journal.h"
#include "tests/catch.h"
#include "tests/merge/run_fixture.h"

using namespace lancet;
using namespace lancet::test;

TEST_CASE_METHOD(
    Fixture, "merge: an interrupted merge resumes with the same bytes, a changed one is refused") {
  const RunOptions small{.shard_size = 700};
  merge(kLinear, scratch.path(), scratch / "reference", small);
  // The first of two parts alone is what an interrupted run leaves.
  RunOptions part = small;
  part.part = 1;
  part.parts = 2;
  const Json first = merge(kLinear, scratch.path(), scratch / "out", part);
  CHECK(first["complete"] == false);
  CHECK_FALSE(fs::exists(scratch / "out"));
  const std::string other =
      "merge_method: linear\nparameters: {weight: 1}\nmodels: [{model: a}, {model: b}]\n";
  const auto error = error_of([&] { merge(other, scratch.path(), scratch / "out", small); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
  CHECK_THAT(error->message(), Catch::Contains("begun with another recipe"));
  const Json rest = merge(kLinear, scratch.path(), scratch / "out", small);
  CHECK(rest["resumed"] == first["bytes_written"]);
  CHECK(rest["bytes_written"].get<std::uint64_t>() > 0);
  CHECK(weights_hash(scratch / "out") == weights_hash(scratch / "reference"));
  CHECK_FALSE(fs::exists(OutputJournal::place("merge", scratch / "out")));
}

TEST_CASE_METHOD(Fixture, "merge: a finished shard that was damaged since is made again") {
  const RunOptions small{.shard_size = 700};
  merge(kLinear, scratch.path(), scratch / "reference", small);
  RunOptions part = small;
  part.part = 1;
  part.parts = 2;
  const Json first = merge(kLinear, scratch.path(), scratch / "out", part);
  fs::path damaged;
  for (const auto& entry : fs::directory_iterator(OutputJournal::place("merge", scratch / "out"))) {
    if (entry.path().extension() == ".safetensors") damaged = std::max(damaged, entry.path());
  }
  std::string bytes = read_file(damaged);
  bytes.back() = static_cast<char>(bytes.back() ^ 1);
  write_file(damaged, bytes);
  RunOptions join = small;
  join.join = true;
  part.part = 2;
  merge(kLinear, scratch.path(), scratch / "out", part);
  const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out", join); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kInput);
  CHECK_THAT(error->message(), Catch::Contains("other bytes than its part wrote"));
  const Json rest = merge(kLinear, scratch.path(), scratch / "out", small);
  CHECK(rest["bytes_written"] == bytes.size());
  CHECK(weights_hash(scratch / "out") == weights_hash(scratch / "reference"));
}

TEST_CASE_METHOD(Fixture,
                 "merge: a changed input refuses to resume and names it; --restart begins anew") {
  RunOptions part{.shard_size = 700};
  part.part = 1;
  part.parts = 2;
  merge(kLinear, scratch.path(), scratch / "out", part);
  save_model(scratch / "b", tiny(300), DType::kF32, kConfig);
  RunOptions whole{.shard_size = 700};
  const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out", whole); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kMismatch);
  CHECK_THAT(error->message(), Catch::Contains("input \"b\""));
  whole.restart = true;
  CHECK(merge(kLinear, scratch.path(), scratch / "out", whole)["resumed"] == 0);
}

TEST_CASE_METHOD(Fixture,
                 "merge: parts made apart and joined are the single run, and join refuses gaps") {
  const RunOptions single{.shard_size = 700};
  merge(kTies, scratch.path(), scratch / "single", single);
  RunOptions join = single;
  join.join = true;
  for (std::uint32_t k = 1; k <= 3; ++k) {
    RunOptions part = single;
    part.part = 4 - k;  // in any order
    part.parts = 3;
    merge(kTies, scratch.path(), scratch / "out", part);
    if (k == 2) {
      const auto error = error_of([&] { merge(kTies, scratch.path(), scratch / "out", join); });
      REQUIRE(error);
      CHECK(error->kind() == ErrorKind::kInput);
    }
  }
  CHECK(merge(kTies, scratch.path(), scratch / "out", join)["bytes_written"] == 0);
  CHECK(weights_hash(scratch / "out") == weights_hash(scratch / "single"));
}

TEST_CASE_METHOD(Fixture,
                 "merge: an existing output is refused without force and replaced whole with it") {
  merge(kLinear, scratch.path(), scratch / "out", {.shard_size = 700});
  const auto error = error_of([&] { merge(kLinear, scratch.path(), scratch / "out"); });
  REQUIRE(error);
  CHECK(error->kind() == ErrorKind::kUsage);
  merge(kLinear, scratch.path(), scratch / "out", {.force = true});
  CHECK(fs::exists(scratch / "out" / "model.safetensors"));
  CHECK_FALSE(fs::exists(scratch / "out" / "model.safetensors.index.json"));  // no stale shards
}
