// Losses with a teacher that runs beside the student: whole runs against plain formulas on whole
// matrices of logits, one row at a time; texts read by another tokenizer; rollouts.

#include <cmath>

#include <ATen/ATen.h>

#include "distill/train/epochs.h"
#include "distill/train/local_teacher.h"
#include "distill/train/rollouts.h"
#include "distill/train/train.h"
#include "tests/catch.h"
#include "tests/core/scratch.h"
#include "tests/tolerances.h"
#include "tests/train/byte_tokenizer.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const fs::path kData = fs::path(LANCET_TEST_DATA) / "train";

/// The student with an adapter folded in: other weights, the same tokenizer.
fs::path teacher_path() {
  return (kData / "model").string() + "+" + (kData / "init_lora").string();
}

TrainRequest request_with(const std::string& loss, const fs::path& out) {
  TrainRequest r;
  r.model = kData / "model";
  r.data = {kData / "sft.jsonl"};
  r.out = out;
  r.loss = loss;
  r.teacher = teacher_path();
  r.rollout_tokens = 6;
  r.lora.rank = 4;
  r.optimizer.lr = 5e-3;
  r.batch_tokens = 4096;
  r.shuffle = false;
  r.steps = 1;
  return r;
}

struct Models {
  ModelSource source = ModelSource::open(kData / "model");
  Tokenizer tokenizer = Tokenizer::open(source);
  Decoder student = Decoder::load(source);
  Decoder teacher = Decoder::load(ModelSource::open(teacher_path()));
};

/// log softmax of the logits that predict each token but the first: float64 [tokens - 1, vocab].
at::Tensor log_probabilities(const Decoder& model, const std::vector<std::int32_t>& ids) {
  const at::NoGradGuard no_grad;
  const at::Tensor all = at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt).to(at::kLong);
  const at::Tensor logits = model.forward(all.unsqueeze(0)).squeeze(0).to(at::kDouble);
  return at::log_softmax(logits, -1).narrow(0, 0, all.numel() - 1);
}

double distance(const std::string& loss, const at::Tensor& log_p, const at::Tensor& log_q) {
  if (loss == "logits") return (log_p.exp() * (log_p - log_q)).sum().item<double>();
  const auto sorted = [](const at::Tensor& x) { return std::get<0>(x.exp().sort(-1, true)); };
  return (sorted(log_p) - sorted(log_q)).abs().sum().item<double>();
}

std::vector<double> losses_of(const TrainRequest& request) {
  std::vector<double> out;
  (void)run_train(request, {.device = "cpu", .dtype = "auto"}, [&](const Json& line) {
    if (!line.value("eval", false)) out.push_back(line["loss"].get<double>());
  });
  return out;
}

}  // namespace

TEST_CASE("local teacher: the first loss is the plain formula's, row by row", "[slow]") {
  const Models models;
  for (const std::string loss : {"logits", "uld"}) {
    INFO(loss);
    const Scratch scratch;
    const TrainRequest request = request_with(loss, scratch / "out");
    const double alpha = loss == "logits" ? 0.5 : 0.6;
    const Dataset data = Dataset::load(request.data, models.source, models.tokenizer, {});
    double total = 0, count = 0;
    for (std::size_t row = 0; row < data.size(); ++row) {
      const Example example = data.example(row);
      const at::Tensor log_q = log_probabilities(models.student, example.ids);
      const at::Tensor log_p = log_probabilities(models.teacher, example.ids);
      for (std::size_t t = 1; t < example.ids.size(); ++t) {
        if (example.target[t] == 0) continue;
        const auto at = static_cast<std::int64_t>(t) - 1;
        total -= (1 - alpha) * log_q[at][example.ids[t]].item<double>();
        total += alpha * distance(loss, log_p[at], log_q[at]);
        count += 1;
      }
    }
    const double own = losses_of(request).front();
    CHECK(std::fabs(own - total / count) < tolerance::kPackedLoss * own);
  }
}

TEST_CASE("local teacher: on-policy loss is what teacher and student say of sampled answers") {
  const Models models;
  const Scratch scratch;
  const TrainRequest request = request_with("on_policy", scratch / "out");
  const Dataset data = Dataset::load(request.data, models.source, models.tokenizer, {});
  Epochs epochs(data, request);
  const Pack pack = epochs.window(0).packs.at(0);
  const MicroBatch asked = make_batch(data, pack, false);
  const Rollouts rollouts(models.tokenizer, request.rollout_tokens, 0);
  const MicroBatch said = rollouts.sample(models.student, asked, 0);
  REQUIRE(said.segments.size() == asked.segments.size());
  double total = 0;
  std::int64_t begin = 0, asked_begin = 0;
  const auto* ids = said.ids.const_data_ptr<std::int64_t>();
  const auto* wanted = asked.ids.const_data_ptr<std::int64_t>();
  for (std::size_t s = 0; s < said.segments.size(); ++s) {
    const std::vector<std::int32_t> text(ids + begin, ids + begin + said.segments[s]);
    const auto first = static_cast<std::size_t>(said.targets.sequence_begin[s]);
    const std::int64_t prompt = said.rows[first] - begin + 1;
    const std::int64_t answer = said.segments[s] - prompt;
    for (std::int64_t i = 0; i < prompt; ++i) CHECK(ids[begin + i] == wanted[asked_begin + i]);
    CHECK((answer >= 1 && answer <= request.rollout_tokens));
    CHECK((answer == request.rollout_tokens || text.back() == *models.tokenizer.eos()));
    const at::Tensor log_q = log_probabilities(models.student, text);
    const at::Tensor log_p = log_probabilities(models.teacher, text);
    for (std::int64_t t = prompt; t < said.segments[s]; ++t) {
      const std::int64_t id = ids[begin + t];
      total += log_q[t - 1][id].item<double>() - log_p[t - 1][id].item<double>();
    }
    begin += said.segments[s];
    asked_begin += asked.segments[s];
  }
  const double own = losses_of(request).front();
  const double mean = total / static_cast<double>(said.count);
  CHECK(std::fabs(own - mean) < 1e-5);
  // The same draw says the same, another something else.
  CHECK(rollouts.sample(models.student, asked, 0).ids.equal(said.ids));
  CHECK_FALSE(rollouts.sample(models.student, asked, 1).targets.next == said.targets.next);
}

TEST_CASE("local teacher: a run that was stopped goes on to the same bits", "[slow]") {
  for (const std::string loss : {"logits", "uld", "on_policy"}) {
    INFO(loss);
    const Scratch scratch;
    TrainRequest straight = request_with(loss, scratch / "straight");
    straight.steps = 5;
    straight.batch_tokens = 200;
    straight.eval_fraction = 0.2;
    const auto losses = losses_of(straight);
    TrainRequest stopped = straight;
    stopped.out = scratch / "stopped";
    stopped.save_every = 1;
    CHECK_THROWS_AS(run_train(stopped, {.device = "cpu"},
                              [](const Json& line) {
                                if (!line.value("eval", false) && line["step"] == 3)
                                  throw std::runtime_error("killed");
                              }),
                    std::runtime_error);
    const auto rest = losses_of(stopped);
    REQUIRE(rest.size() == 3);
    for (std::size_t i = 0; i < rest.size(); ++i) CHECK(rest[i] == losses[2 + i]);
    CHECK(read_file(stopped.out / "adapter_model.safetensors") ==
          read_file(straight.out / "adapter_model.safetensors"));
  }
}

TEST_CASE("local teacher: a text as another tokenizer reads it, found by search") {
  const Tokenizer ours = byte_tokenizer();
  const Tokenizer theirs = Tokenizer::open(kData / "model");
  const std::string text = "no yes \xc3\xa9t\xc3\xa9 the river, yes!";
  std::vector<std::int64_t> ids{kStart};  // not one of theirs: said to nobody
  for (const TokenId id : ours.encode(text, false).ids) ids.push_back(id);
  ids.push_back(kEnd);
  const ReadText read = read_as(ours, ids, theirs);
  const std::string end = theirs.token(*theirs.eos());
  CHECK(read.ids == theirs.encode(text + end, true).ids);
  REQUIRE(read.row.size() == ids.size());
  std::size_t byte = 0;
  std::size_t found = 0;
  for (std::size_t t = 1; t < ids.size(); ++t) {
    // Slowly: the first of their tokens that begins where this one does.
    std::int64_t wanted = -1;
    const auto offsets = theirs.encode(text + end, true).offsets;
    for (std::size_t j = offsets.size(); j-- > 1;) {
      if (offsets[j].first == byte && offsets[j].second > byte)
        wanted = static_cast<std::int64_t>(j) - 1;
    }
    CHECK(read.row[t] == wanted);
    found += wanted >= 0 ? 1 : 0;
    byte += ours.spelling(static_cast<TokenId>(ids[t])).value().size();
  }
  CHECK(found > 3);
  CHECK(read.row[0] == -1);
  // A character that truncation has cut is not said.
  const std::vector<std::int64_t> cut{'a', 'b', 0xC3};
  CHECK(theirs.decode(read_as(ours, cut, theirs).ids) == "ab");
}

TEST_CASE("local teacher: another tokenizer is refused where ids are compared") {
  const Tokenizer other = byte_tokenizer();
  CHECK_THROWS_WITH(LocalTeacher(kData / "model", other, find_loss("logits")),
                    Catch::Contains("the student's tokenizer"));
  CHECK_NOTHROW(LocalTeacher(kData / "model", other, find_loss("uld")));
  TrainRequest request = request_with("sft", "nowhere");
  CHECK_THROWS_WITH(losses_of(request), Catch::Contains("--teacher"));
  request.loss = "logits";
  request.teacher.reset();
  CHECK_THROWS_WITH(losses_of(request), Catch::Contains("--teacher MODEL"));
}
