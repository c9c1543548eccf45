// What every registered loss promises: its formula, its gradient, the same bits however the rows
// are divided.
#include <bit>
#include <cmath>

#include <torch/csrc/autograd/autograd.h>

#include "core/error.h"
#include "core/parallel.h"
#include "distill/losses/ops/alignment.h"
#include "distill/losses/ops/cross_entropy.h"
#include "distill/losses/ops/head_rows.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/losses/plain.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

void for_each_setting(const std::function<void(const LossOptions&)>& body) {
  REQUIRE(loss_registry().size() >= 6);
  for (const Loss* loss : loss_registry()) {
    for (const auto& given : settings_of(*loss)) {
      const LossOptions options = loss_options(loss->name, given);
      INFO(options.json().dump());
      body(options);
    }
  }
}

struct Outcome {
  LossResult result;
  at::Tensor gradient;
};

Outcome outcome(const Decoder& model, const Case& given, const LossOptions& options) {
  const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
  Outcome out{head_loss(model, hidden, given.targets, options), {}};
  out.gradient = torch::autograd::grad({out.result.sum}, {hidden})[0];
  return out;
}

/// By the plain formula on the model's whole logits.
Outcome plain(const Decoder& model, const Case& given, const LossOptions& options) {
  const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
  const at::Tensor teacher = given.targets.teacher == nullptr
                                 ? at::Tensor()
                                 : model.head(given.targets.teacher_hidden).detach();
  Outcome out;
  out.result.sum = plain_loss(model.head(hidden).to(at::kDouble), given.targets, options, teacher);
  out.gradient = torch::autograd::grad({out.result.sum}, {hidden})[0];
  return out;
}

double value_of(const LossResult& result) { return result.sum.item<double>(); }

void check_formula(const Decoder& model, const Case& given, const LossOptions& options) {
  const Outcome mine = outcome(model, given, options);
  const Outcome theirs = plain(model, given, options);
  const double expected = value_of(theirs.result);
  CHECK(std::fabs(value_of(mine.result) - expected) <
        tolerance::kLossValue * std::max(1.0, std::fabs(expected)));
  CHECK(relative(mine.gradient, theirs.gradient) < tolerance::kLossGradient);
}

/// Rows [first, first + count) of a case whose loss is a sum over rows.
Case rows_of(const Case& given, std::int64_t first, std::int64_t count) {
  Case out{given.hidden.narrow(0, first, count), given.targets};
  LossTargets& t = out.targets;
  const auto cut = [&](auto& values) {
    if (!values.empty()) values = {values.begin() + first, values.begin() + first + count};
  };
  cut(t.next);
  cut(t.weight);
  cut(t.teacher_row);
  if (!t.top_begin.empty()) {
    std::vector<std::int64_t> begin{t.top_begin.begin() + first,
                                    t.top_begin.begin() + first + count + 1};
    const std::int64_t from = begin.front(), to = begin.back();
    for (std::int64_t& each : begin) each -= from;
    t.top_begin = begin;
    t.top_ids = {t.top_ids.begin() + from, t.top_ids.begin() + to};
    t.top_logprobs = {t.top_logprobs.begin() + from, t.top_logprobs.begin() + to};
  }
  return out;
}

}  // namespace

TEST_CASE("losses: each says what it is, and its parameters have sound ranges") {
  for (const Loss* loss : loss_registry()) {
    INFO(loss->name);
    CHECK_FALSE(loss->title.empty());
    CHECK_FALSE(loss->paper.empty());
    CHECK(&find_loss(loss->name) == loss);
    for (const LossParameter& each : loss->parameters) {
      INFO(each.name);
      CHECK_FALSE(each.help.empty());
      CHECK(each.minimum < each.maximum);
      CHECK((each.fallback >= each.minimum && each.fallback <= each.maximum));
      if (each.kind == LossParameter::Kind::kWord)
        CHECK(each.maximum == static_cast<double>(each.choices.size()) - 1);
    }
  }
}

TEST_CASE("losses: values and gradients are those of the plain formula in float64") {
  const Decoder model = load_tiny("plain");
  for_each_setting([&](const LossOptions& options) {
    for (const std::uint64_t seed : {1ULL, 2ULL})
      check_formula(model, make_case(*options.loss, model, 11, seed), options);
  });
}

TEST_CASE("losses: softcap, scale, bias and projections of every family's head are respected") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    for (const std::string_view loss : {"sft", "kd", "logits"}) {
      INFO(loss);
      check_formula(model, make_case(find_loss(loss), model, 5), loss_options(loss));
    }
  }
}

TEST_CASE("losses: the gradient is what differences of the loss say") {
  const Decoder model = load_tiny("tied");
  for_each_setting([&](const LossOptions& options) {
    // A clipped ratio has a kink, which a difference may step over: the formula's test has it.
    if (options.loss->needs.rollouts && options.number("clip") > 0) return;
    Case given = make_case(*options.loss, model, 9, 5);
    const Outcome here = outcome(model, given, options);
    const at::Tensor direction =
        at::sin(at::arange(given.hidden.numel()) * 0.9).view(given.hidden.sizes()).to(at::kFloat);
    const double step = 5e-3;
    const at::Tensor middle = given.hidden;
    given.hidden = middle + step * direction;
    const double above = value_of(head_loss(model, given.hidden, given.targets, options));
    given.hidden = middle - step * direction;
    const double below = value_of(head_loss(model, given.hidden, given.targets, options));
    const double slope = (here.gradient.to(at::kDouble) * direction).sum().item<double>();
    const double scale = here.gradient.norm().item<double>() * direction.norm().item<double>();
    CHECK(std::fabs((above - below) / (2 * step) - slope) < tolerance::kFiniteDifference * scale);
  });
}

TEST_CASE("losses: rows in two calls are the rows in one call, bit for bit") {
  const Decoder model = load_tiny("plain");
  for_each_setting([&](const LossOptions& options) {
    if (options.loss->needs.pairs || options.loss->needs.rollouts) return;
    const Case whole = make_case(*options.loss, model, 13);
    const Outcome all = outcome(model, whole, options);
    const Outcome first = outcome(model, rows_of(whole, 0, 4), options);
    const Outcome second = outcome(model, rows_of(whole, 4, 9), options);
    CHECK(same_bits(all.gradient, at::cat({first.gradient, second.gradient})));
    CHECK(all.result.count == first.result.count + second.result.count);
    CHECK(all.result.teacher_rows == first.result.teacher_rows + second.result.teacher_rows);
    CHECK(std::fabs(value_of(all.result) - value_of(first.result) - value_of(second.result)) <
          1e-12 * std::fabs(value_of(all.result)));
  });
}

TEST_CASE("losses: rows at once and threads change no bit; nor does leaving the gradient out") {
  const Decoder model = load_tiny("bias");
  const Case given = make_case(find_loss("sft"), model, 40);
  const auto run = [&](std::int64_t at_once) {
    const at::Tensor hidden = given.hidden.detach().clone().requires_grad_(true);
    losses::HeadRows rows;
    rows.at_once = at_once;
    rows.value = [&](std::int64_t row, std::span<float> logits, bool gradient) {
      return losses::cross_entropy(logits, given.targets.next[static_cast<std::size_t>(row)],
                                   gradient);
    };
    const at::Tensor values = losses::head_rows(model, hidden, rows);
    return std::pair(values.detach(), torch::autograd::grad({values.sum()}, {hidden})[0]);
  };
  const auto [values, gradient] = run(0);
  for (const std::int64_t at_once : {1LL, 7LL, 39LL}) {
    const auto [other, slopes] = run(at_once);
    CHECK(same_bits(values, other));
    CHECK(same_bits(gradient, slopes));
  }
  for_each_setting([&](const LossOptions& options) {
    const Case each = make_case(*options.loss, model, 17);
    const Outcome here = outcome(model, each, options);
    for (const int threads : {1, 3}) {
      parallel::set_threads(threads);
      init_runtime();
      const Outcome there = outcome(model, each, options);
      CHECK(same_bits(here.gradient, there.gradient));
      CHECK(value_of(here.result) == value_of(there.result));
    }
    parallel::set_threads(0);
    init_runtime();
    const at::NoGradGuard no_grad;
    CHECK(value_of(head_loss(model, each.hidden, each.targets, options)) == value_of(here.result));
  });
}

TEST_CASE("losses: a student that is its teacher has no divergence and nothing to learn from it") {
  const Decoder model = load_tiny("plain");
  for_each_setting([&](const LossOptions& options) {
    if (!options.loss->needs.teacher) return;
    LossOptions pure = options;
    pure.values[0] = 1;  // alpha
    Case given = make_case(*options.loss, model, 6);
    given.targets.teacher_hidden = given.hidden;
    given.targets.teacher_row.clear();
    const Outcome same = outcome(model, given, pure);
    CHECK(std::fabs(value_of(same.result)) < 1e-6);
    CHECK(same.gradient.abs().max().item<double>() < 1e-6);
  });
}

TEST_CASE("losses: a teacher's top-k tail bound rises to the whole divergence as k grows") {
  const Decoder model = load_tiny("plain");
  Case given = make_case(find_loss("logits"), model, 4);
  given.targets.teacher_row.clear();
  given.targets.shared_vocab = 0;
  const auto whole = head_loss(model, given.hidden, given.targets, loss_options("logits"));
  const at::Tensor log_p = plain_log_softmax(model.head(given.targets.teacher_hidden));
  const auto [sorted, ids] = log_p.sort(1, true);
  double before = 0;
  for (const std::int64_t k : {1, 4, 16, 64}) {
    LossTargets top = given.targets;
    top.top_begin = {0};
    for (std::int64_t i = 0; i < 4; ++i) {
      for (std::int64_t j = 0; j < k; ++j) {
        top.top_ids.push_back(static_cast<std::int32_t>(ids[i][j].item<std::int64_t>()));
        top.top_logprobs.push_back(sorted[i][j].item<float>());
      }
      top.top_begin.push_back(k * (i + 1));
    }
    const LossResult each = head_loss(model, given.hidden, top, loss_options("kd"));
    CHECK(each.kd >= before - 1e-9);
    CHECK(each.kd <= whole.kd + 1e-5);
    CHECK(each.teacher_rows == 4);
    before = each.kd;
    if (k == 64) {
      CHECK(std::fabs(each.kd - whole.kd) < 1e-5);
      CHECK(std::fabs(each.coverage - 4) < 1e-5);
    }
  }
}

TEST_CASE("losses: figures beside the loss are sums over rows or pairs") {
  const Decoder model = load_tiny("plain");
  const Case rows = make_case(find_loss("kd"), model, 10);
  const LossResult kd = head_loss(model, rows.hidden, rows.targets, loss_options("kd"));
  CHECK(kd.count == 10);
  CHECK(kd.teacher_rows == 9);
  CHECK((kd.coverage > 0.4 * 9 && kd.coverage < 9));
  LossTargets plain_rows = rows.targets;
  plain_rows.weight.clear();
  const LossResult sft = head_loss(model, rows.hidden, plain_rows, loss_options("sft"));
  CHECK(std::fabs(sft.ce - value_of(sft)) < 1e-9);
  CHECK(std::fabs(kd.ce - sft.ce) < 1e-4);
  const Case pairs = make_case(find_loss("dpo"), model, 10);
  const LossResult dpo = head_loss(model, pairs.hidden, pairs.targets, loss_options("dpo"));
  CHECK(dpo.count == 2);
  REQUIRE(dpo.metrics.size() == 4);
  CHECK(dpo.metrics[0].name == "accuracy");
  CHECK(std::fabs(dpo.metrics[1].sum - dpo.metrics[2].sum + dpo.metrics[3].sum) < 1e-12);
}

TEST_CASE("losses: preferences against the model itself start at log 2, whatever the rows") {
  const Decoder model = load_tiny("plain");
  Case given = make_case(find_loss("dpo"), model, 12);
  const at::Tensor logprob = token_logprobs(model, given.hidden, given.targets.next);
  const auto* from = logprob.const_data_ptr<double>();
  given.targets.reference.assign(from, from + 12);
  const LossResult result = head_loss(model, given.hidden, given.targets, loss_options("dpo"));
  CHECK(std::fabs(value_of(result) - 2 * std::log(2.0)) < 1e-12);
}

TEST_CASE("losses: token log probabilities are those of score_targets") {
  const Decoder model = load_tiny("plain");
  const Case given = make_case(find_loss("sft"), model, 20);
  const auto scores = model.score_targets(given.hidden, given.targets.next);
  const at::Tensor mine = token_logprobs(model, given.hidden, given.targets.next);
  for (std::int64_t i = 0; i < 20; ++i) {
    CHECK(std::fabs(mine[i].item<double>() - scores[static_cast<std::size_t>(i)].logprob) <
          tolerance::kLogProbability);
  }
}

TEST_CASE("losses: weights over bf16 work, and a sure student keeps the digits of its tail") {
  const Decoder model = load_tiny("plain", at::kBFloat16);
  for (const std::string_view loss : {"sft", "kd"})
    check_formula(model, make_case(find_loss(loss), model, 6), loss_options(loss));
  // A student that is sure by 30 nats: 1 - q_K would be 0 in float64's neighbourhood of 1.
  Case given = make_case(find_loss("kd"), model, 3);
  given.hidden = given.hidden * 30;
  const Outcome mine = outcome(model, given, loss_options("kd"));
  CHECK(std::isfinite(value_of(mine.result)));
  CHECK(mine.gradient.isfinite().all().item<bool>());
}

TEST_CASE("losses: options and targets that do not fit are refused") {
  const Decoder model = load_tiny("plain");
  const auto option_error = [](const char* loss, const std::map<std::string, std::string>& given) {
    return error_of([&] { static_cast<void>(loss_options(loss, given)); });
  };
  CHECK(option_error("dop", {}).find("expected one of dpo") != std::string::npos);
  CHECK(option_error("kd", {{"alhpa", "1"}}).find("alhpa") != std::string::npos);
  CHECK(option_error("kd", {{"alpha", "1.5"}}).find("from 0 to 1") != std::string::npos);
  CHECK(option_error("kd", {{"alpha", "nan"}}).find("from 0 to 1") != std::string::npos);
  CHECK(option_error("kd", {{"missing", "uniform"}}).find("tail, renormalised") !=
        std::string::npos);
  CHECK(option_error("sft", {{"alpha", "1"}}).find("it has none") != std::string::npos);
  CHECK(option_error("dpo", {{"length_normalised", "yes"}}).find("true or false") !=
        std::string::npos);

  const auto target_error = [&](const char* loss, const auto& spoil) {
    Case given = make_case(find_loss(loss), model, 6);
    spoil(given.targets);
    return error_of([&] {
      static_cast<void>(head_loss(model, given.hidden, given.targets, loss_options(loss)));
    });
  };
  CHECK(target_error("sft", [](LossTargets& t) { t.next[3] = 64; }).find("row 3") !=
        std::string::npos);
  CHECK(target_error("sft", [](LossTargets& t) { t.next.pop_back(); }).find("6 entries of next") !=
        std::string::npos);
  CHECK(target_error("kd", [](LossTargets& t) { t.top_ids[0] = -1; }).find("row 0") !=
        std::string::npos);
  CHECK(target_error("kd", [](LossTargets& t) { t.top_logprobs[0] = 0.5F; }).find("at most 0") !=
        std::string::npos);
  CHECK(target_error("kd", [](LossTargets& t) { t.top_logprobs[0] = NAN; }).find("at most 0") !=
        std::string::npos);
  CHECK(target_error("logits", [](LossTargets& t) { t.shared_vocab = 65; }).find("at most 64") !=
        std::string::npos);
  CHECK(target_error("dpo", [](LossTargets& t) {
          t.sequence_begin = {0, 2, 4, 6};
        }).find("odd number") != std::string::npos);
  CHECK(target_error("dpo", [](LossTargets& t) {
          t.sequence_begin[1] = 0;
        }).find("at least one token") != std::string::npos);
  CHECK(target_error("on_policy", [](LossTargets& t) {
          t.teacher_logprob.clear();
        }).find("teacher_logprob") != std::string::npos);
}

TEST_CASE("losses: rows of two tokenizations meet where both have read the same bytes") {
  const std::vector<std::uint64_t> ours{0, 3, 3, 7, 9, 12}, theirs{0, 2, 3, 3, 9, 15};
  CHECK(losses::aligned_rows(ours, theirs) == std::vector<std::int64_t>{0, 2, -1, -1, 4, -1});
  CHECK(losses::aligned_rows({}, theirs).empty());
}
