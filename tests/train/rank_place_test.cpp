// Who is who, from the variables of torchrun, Slurm, Open MPI and PMI.
#include <map>

#include "core/error.h"
#include "distill/train/rank_place.h"
#include "distill/train/ranks.h"
#include "tests/catch.h"

using namespace lancet;

namespace {

RankPlace place_of(const std::map<std::string, std::string>& variables) {
  return rank_place([&](const char* name) -> std::optional<std::string> {
    const auto at = variables.find(name);
    return at == variables.end() ? std::nullopt : std::optional(at->second);
  });
}

std::string error_of(const std::map<std::string, std::string>& variables) {
  try {
    (void)place_of(variables);
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kUsage);
    return error.what();
  }
  return "";
}

bool contains(const std::string& text, const char* part) {
  return text.find(part) != std::string::npos;
}

}  // namespace

TEST_CASE("ranks: a process that nobody launched is alone, and so is a batch script") {
  CHECK(place_of({}).size == 1);
  CHECK(place_of({{"RANK", "0"}, {"WORLD_SIZE", "1"}}).size == 1);
  CHECK(place_of({{"SLURM_PROCID", "0"}, {"SLURM_NTASKS", "8"}, {"SLURM_JOB_ID", "7"}}).size == 1);
}

TEST_CASE("ranks: torchrun's variables come before Slurm's") {
  const RankPlace place = place_of({{"RANK", "3"},
                                    {"WORLD_SIZE", "8"},
                                    {"LOCAL_RANK", "1"},
                                    {"MASTER_ADDR", "gpu01"},
                                    {"MASTER_PORT", "1234"},
                                    {"SLURM_PROCID", "0"},
                                    {"SLURM_STEP_NUM_TASKS", "2"}});
  CHECK(place.rank == 3);
  CHECK(place.size == 8);
  CHECK(place.local == 1);
  CHECK(place.host == "gpu01");
  CHECK(place.port == 1234);
  CHECK(place.listener == -1);
}

TEST_CASE("ranks: Slurm's first host listens, on a port of the job's own") {
  const RankPlace place = place_of({{"SLURM_PROCID", "5"},
                                    {"SLURM_STEP_NUM_TASKS", "6"},
                                    {"SLURM_LOCALID", "2"},
                                    {"SLURM_STEP_NODELIST", "gpu[07-09,12],login"},
                                    {"SLURM_JOB_ID", "1000123"}});
  CHECK(place.rank == 5);
  CHECK(place.local == 2);
  CHECK(place.host == "gpu07");
  CHECK(place.port == 20123);
}

TEST_CASE("ranks: each process of a machine has a GPU of its own, unless one is named") {
  RankPlace place{.rank = 5, .size = 8, .local = 1};
  CHECK(rank_device("cuda", place, 4) == "cuda:1");
  CHECK(rank_device("auto", place, 4) == "cuda:1");
  CHECK(rank_device("cuda", place, 1) == "cuda:0");  // the launcher shows each only its own
  CHECK(rank_device("cuda:3", place, 4) == "cuda:3");
  CHECK(rank_device("cpu", place, 4) == "cpu");
  CHECK(rank_device("auto", place, 0) == "auto");
  place.size = 1;
  CHECK(rank_device("cuda", place, 4) == "cuda");
}

TEST_CASE("ranks: lists of hosts begin with what Slurm's scontrol would say") {
  CHECK(first_host("one") == "one");
  CHECK(first_host("one,two") == "one");
  CHECK(first_host("n[3,5]") == "n3");
  CHECK(first_host("rack[1-2]n[004-9]") == "rack1n004");
  for (const char* bad : {"", "n[", "n[]", "[-3]"}) CHECK_THROWS_AS(first_host(bad), Error);
}

TEST_CASE("ranks: mpirun needs to be told where rank 0 listens") {
  CHECK(contains(error_of({{"OMPI_COMM_WORLD_RANK", "0"}, {"OMPI_COMM_WORLD_SIZE", "2"}}),
                 "MASTER_ADDR"));
  const RankPlace place =
      place_of({{"PMI_RANK", "1"}, {"PMI_SIZE", "2"}, {"MASTER_ADDR", "127.0.0.1"}});
  CHECK(place.rank == 1);
  CHECK(place.port == 29500);
}

TEST_CASE("ranks: variables that make no sense are named") {
  CHECK(contains(error_of({{"RANK", "2"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}}), "RANK"));
  CHECK(contains(error_of({{"RANK", "1"}}), "WORLD_SIZE"));
  CHECK(contains(error_of({{"RANK", "x"}, {"WORLD_SIZE", "2"}}), "'x'"));
  CHECK(contains(
      error_of(
          {{"RANK", "0"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "a"}, {"MASTER_PORT", "70000"}}),
      "MASTER_PORT"));
}

TEST_CASE("ranks: one process sends nothing") {
  const Ranks alone;
  std::vector<float> values{1, 2};
  alone.sum(std::span<float>(values));
  CHECK(values == std::vector<float>{1, 2});
  CHECK(alone.broadcast("text") == "text");
  CHECK(alone.agree("text"));
  CHECK(alone.takes(0));
  CHECK(alone.takes(5));
  CHECK_THROWS_AS(alone.together([] { fail(ErrorKind::kNumeric, "x", "y"); }), Error);
}
