// Whole training runs over tests/data/train: losses that a PEFT and PyTorch loop has given
// (tests/oracle/make_train_goldens.py), resuming, thread counts, pieces of layers.

#include <cmath>
#include <fstream>

#include "core/parallel.h"
#include "distill/train/train.h"
#include "model/cuda/launch.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kData = fs::path(LANCET_TEST_DATA) / "train";

TrainRequest golden_request(const std::string& name, const fs::path& out) {
  TrainRequest r;
  const bool kd = name == "kd";
  const bool dpo = name.ends_with("dpo");
  r.model = kData / "model";
  r.data = {kData / (kd ? "kd.jsonl" : dpo ? "dpo.jsonl" : "sft.jsonl")};
  const bool pissa = name == "pissa";
  if (pissa || name == "olora") {
    r.lora.rank = 4;
    r.lora.alpha = 8;
    r.lora.init = pissa ? LoraInit::kPissa : LoraInit::kOlora;
  } else {
    r.init = kData / ("init_" + name);
  }
  r.out = out;
  r.loss = kd ? "kd" : dpo ? "dpo" : "sft";
  if (kd) r.loss_options = {{"alpha", "0.7"}};
  if (dpo) r.loss_options = {{"beta", "0.3"}, {"nll", "0.2"}};
  r.optimizer.lr = 5e-3;
  r.optimizer.weight_decay = 0.01;
  r.schedule.warmup = 3;
  r.steps = 30;
  r.batch_size = 4;
  r.accumulate = 2;
  r.pack = false;
  r.shuffle = false;
  return r;
}

/// A short run of a new adapter on every layer, embeddings and head included, with dropout.
TrainRequest short_request(const fs::path& out) {
  TrainRequest r;
  r.model = kData / "model";
  r.data = {kData / "sft.jsonl"};
  r.out = out;
  r.lora.targets = {"all-linear", "embed_tokens", "lm_head"};
  r.lora.rank = 4;
  r.lora.dropout = 0.1;
  r.optimizer.lr = 5e-3;
  r.steps = 8;
  r.batch_tokens = 200;
  r.accumulate = 2;
  r.eval_fraction = 0.2;
  r.eval_every = 3;
  return r;
}

std::vector<double> losses_of(const TrainRequest& request, std::uint64_t seed = 0) {
  std::vector<double> out;
  (void)run_train(request, {.threads = 0, .device = "cpu", .dtype = "auto", .seed = seed},
                  [&](const Json& line) {
                    if (!line.value("eval", false)) out.push_back(line["loss"].get<double>());
                  });
  return out;
}

std::string weights_of(const fs::path& adapter) {
  return read_file(adapter / "adapter_model.safetensors");
}

}  // namespace

namespace {

void check_golden_losses() {
  const Json golden = read_json(kData / "losses.json");
  for (const char* name : {"lora", "rslora", "patterns", "dora", "pissa", "olora", "ends",
                           "ends_dora", "ends_dpo", "kd", "dpo"}) {
    INFO(name);
    const Scratch scratch;
    const auto own = losses_of(golden_request(name, scratch / "out"));
    const auto wanted = golden[name].get<std::vector<double>>();
    REQUIRE(own.size() == wanted.size());
    for (std::size_t i = 0; i < own.size(); ++i)
      CHECK(std::fabs(own[i] - wanted[i]) < tolerance::kTrainingLoss * wanted[i]);
  }
}

}  // namespace

TEST_CASE("train: losses of thirty steps are those of a PEFT loop", "[slow]") {
  check_golden_losses();
}

TEST_CASE("train: on the way of a GPU, by its kernels' twins, they are the same", "[slow]") {
  const fused::TwinsOnCpu twins;
  check_golden_losses();
}

TEST_CASE("train: packs, single rows and pieces of layers give the same losses", "[slow]") {
  const Scratch scratch;
  TrainRequest whole = short_request(scratch / "whole");
  whole.lora.dropout = 0;
  whole.accumulate = 1;
  whole.steps = 4;
  whole.batch_tokens = 4096;  // all rows in one
  TrainRequest single = whole;
  single.out = scratch / "single";
  single.batch_size = 1;
  single.accumulate = 1000;
  TrainRequest pieces = whole;
  pieces.out = scratch / "pieces";
  pieces.checkpointing = "on";
  whole.checkpointing = "off";
  const auto a = losses_of(whole);
  const auto c = losses_of(pieces);
  for (std::size_t i = 0; i < a.size(); ++i) CHECK(std::fabs(a[i] - c[i]) < 1e-12);
  CHECK(weights_of(scratch / "whole") == weights_of(scratch / "pieces"));
  // One row a micro-batch, all rows a step: 52 rows less those held out.
  single.accumulate = read_json(scratch / "whole/lancet.json")["data"]["kept"].get<std::int64_t>();
  single.eval_fraction = whole.eval_fraction = 0;
  single.accumulate = 52;
  whole.out = scratch / "all";
  const auto all = losses_of(whole);
  const auto each = losses_of(single);
  for (std::size_t i = 0; i < all.size(); ++i)
    CHECK(std::fabs(all[i] - each[i]) < tolerance::kPackedLoss * all[i]);
}

TEST_CASE("train: a run that was stopped goes on to the same bits", "[slow]") {
  const Scratch scratch;
  for (const char* optimizer : {"adamw", "adamw8bit"}) {
    TrainRequest straight = short_request(scratch / (std::string("straight") + optimizer));
    straight.optimizer.name = optimizer;
    const auto losses = losses_of(straight);
    TrainRequest stopped = straight;
    stopped.out = scratch / (std::string("stopped") + optimizer);
    stopped.save_every = 1;
    // A sink that throws stops the run as a kill would: what it held is lost.
    CHECK_THROWS_AS(run_train(stopped, {.device = "cpu"},
                              [](const Json& line) {
                                if (!line.value("eval", false) && line["step"] == 5)
                                  throw std::runtime_error("killed");
                              }),
                    std::runtime_error);
    CHECK_FALSE(fs::exists(stopped.out / "adapter_config.json"));
    const auto rest = losses_of(stopped);
    REQUIRE(rest.size() == 4);
    for (std::size_t i = 0; i < rest.size(); ++i) CHECK(rest[i] == losses[4 + i]);
    CHECK(weights_of(stopped.out) == weights_of(straight.out));
    // Other settings are another run.
    fs::remove(stopped.out / "adapter_config.json");
    stopped.optimizer.lr = 1e-3;
    CHECK_THROWS_WITH(losses_of(stopped), Catch::Contains("another run"));
  }
}

TEST_CASE("train: the same bytes for one thread and two, another for another seed", "[slow]") {
  const Scratch scratch;
  TrainRequest request = short_request(scratch / "one");
  const int before = parallel::threads();
  const auto with = [&](int threads, const char* name, std::uint64_t seed) {
    request.out = scratch / name;
    parallel::set_threads(threads);
    init_runtime();
    const auto losses = losses_of(request, seed);
    return weights_of(request.out);
  };
  const std::string one = with(1, "one", 0);
  CHECK(one == with(2, "two", 0));
  CHECK(one != with(2, "seed", 1));
  parallel::set_threads(before);
  init_runtime();
}

TEST_CASE("train: evaluation, early stopping and what stands in the folder") {
  const Scratch scratch;
  TrainRequest request = short_request(scratch / "out");
  request.steps = 40;
  request.optimizer.lr = 0.2;  // past all sense
  request.schedule.name = "constant";
  request.eval_every = 1;
  request.patience = 2;
  request.keep = 1;
  std::vector<double> evals;
  const Json result = run_train(request, {.device = "cpu"}, [&](const Json& line) {
    if (line.value("eval", false)) evals.push_back(line["loss"].get<double>());
  });
  CHECK(result["stopped_early"] == true);
  CHECK(result["steps"].get<int>() < 40);
  CHECK(result["best_eval_loss"].get<double>() == *std::ranges::min_element(evals));
  CHECK(result["eval_loss"] == result["best_eval_loss"]);
  CHECK(result["last_eval_loss"].get<double>() == evals.back());
  CHECK(result["saved_step"] == result["best_step"]);
  for (const char* name :
       {"adapter_config.json", "adapter_model.safetensors", "README.md", "lancet.json"})
    CHECK(fs::exists(request.out / name));
  CHECK_THROWS_WITH(losses_of(request), Catch::Contains("exists already"));
  request.force = true;
  request.steps = 2;
  write_file(request.out / "notes.txt", "mine");
  CHECK(losses_of(request).size() == 2);
  CHECK(fs::exists(request.out / "notes.txt"));
}

TEST_CASE("train: a loss that is not finite stops the run and leaves the rows") {
  const Scratch scratch;
  TrainRequest request = short_request(scratch / "out");
  request.optimizer.lr = 1e30;
  request.optimizer.clip = 0;
  try {
    (void)losses_of(request);
    FAIL("nothing was thrown");
  } catch (const Error& error) {
    CHECK(error.kind() == ErrorKind::kNumeric);
  }
  std::ifstream rows(request.out / "failed_batch.jsonl");
  std::string line;
  REQUIRE(std::getline(rows, line));
  CHECK(parse_json(line, "row")["ids"].size() > 1);
}
