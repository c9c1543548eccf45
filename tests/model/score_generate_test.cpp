// Scoring and generation: tiny models where ids suffice, the embedded model where text is needed.

#include <cmath>
#include <optional>

#include "formats/model_source.h"
#include "model/generate.h"
#include "model/score.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

struct Embedded {
  Decoder model;
  Tokenizer tokenizer;
};

/// SmolLM2, loaded once; nothing where the file is not there.
const Embedded* embedded() {
  static const std::optional<Embedded> loaded = []() -> std::optional<Embedded> {
    if (!fs::exists(LANCET_TEST_GGUF)) return std::nullopt;
    const ModelSource source = ModelSource::open(LANCET_TEST_GGUF);
    return Embedded{Decoder::load(source), Tokenizer::open(source)};
  }();
  return loaded ? &*loaded : nullptr;
}

/// log_softmax in double over the logits of a full pass.
at::Tensor log_probabilities(const Decoder& model, const std::vector<std::int32_t>& ids) {
  const at::Tensor row =
      at::tensor(at::ArrayRef<std::int32_t>(ids), at::kInt).to(at::kLong).unsqueeze(0);
  return at::log_softmax(model.forward(row)[0].to(at::kDouble), -1);
}

constexpr const char* kText =
    "The Eiffel Tower is a wrought-iron lattice tower on the Champ de Mars in Paris, France. It is "
    "named after "
    "the engineer Gustave Eiffel, whose company designed and built the tower from 1887 to 1889.";

Generation run_one(const Embedded& it, const std::string& prompt, const SamplingOptions& options,
                   std::uint64_t seed = 0) {
  return generate(it.model, it.tokenizer, {{"p", prompt, true}}, options, seed)[0];
}

}  // namespace

TEST_CASE(
    "score: continuations have the log probabilities and ranks of a full pass, in any company") {
  const Decoder model = load_tiny("plain");
  const auto rows = as_lists(random_ids(5, 30));
  std::vector<std::pair<std::vector<std::int32_t>, std::vector<std::int32_t>>> pairs;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const auto context = static_cast<std::ptrdiff_t>(3 + 4 * i);
    const auto end = static_cast<std::ptrdiff_t>(30 - 2 * i);
    pairs.push_back({{rows[i].begin(), rows[i].begin() + context},
                     {rows[i].begin() + context, rows[i].begin() + end}});
  }
  pairs.push_back({{1, 2}, {}});
  const auto scores = score_continuations(model, pairs);
  REQUIRE(scores.size() == 6);
  CHECK(scores[5].logprobs.empty());
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const at::Tensor expected = log_probabilities(model, rows[i]);
    const auto& [context, target] = pairs[i];
    REQUIRE(scores[i].logprobs.size() == target.size());
    for (std::size_t t = 0; t < target.size(); ++t) {
      const at::Tensor row = expected[static_cast<std::int64_t>(context.size() + t) - 1];
      const double wanted = row[target[t]].item<double>();
      CHECK(std::abs(scores[i].logprobs[t] - wanted) < tolerance::kLogProbability);
      CHECK(scores[i].ranks[t] == (row > row[target[t]]).sum().item<std::int64_t>() + 1);
    }
  }
  const auto alone = score_continuations(model, {pairs[2]});
  CHECK(alone[0].logprobs == scores[2].logprobs);
}

TEST_CASE("score: a pair without context is refused by number") {
  const Decoder model = load_tiny("plain");
  CHECK_THAT(error_of([&] {
               static_cast<void>(score_continuations(model, {{{}, {1}}}));
             }),
             Catch::Contains("pair 0"));
}

TEST_CASE(
    "score: the mean over a text equals that of a full pass, and per-token values add up to it",
    "[slow]") {
  const Embedded* it = embedded();
  if (it == nullptr) LANCET_SKIP("no embedded model");
  const auto ids = it->tokenizer.encode(kText).ids;
  const at::Tensor expected = log_probabilities(it->model, ids);
  double sum = 0;
  for (std::size_t i = 1; i < ids.size(); ++i) {
    sum -= expected[static_cast<std::int64_t>(i) - 1][ids[i]].item<double>();
  }
  ScoreRequest request;
  request.texts = {kText};
  request.per_token = true;
  const ScoreResult result = score(it->model, it->tokenizer, request);
  CHECK(result.tokens == static_cast<std::int64_t>(ids.size()) - 1);
  CHECK(result.nll == Approx(sum / static_cast<double>(result.tokens)).epsilon(1e-6));
  CHECK(result.perplexity == Approx(std::exp(result.nll)));
  double again = 0;
  for (const TokenScore& token : result.per_token) again -= token.logprob;
  CHECK(again / static_cast<double>(result.tokens) == Approx(result.nll));
}

TEST_CASE("score: windows score every token once; more overlap never costs tokens", "[slow]") {
  const Embedded* it = embedded();
  if (it == nullptr) LANCET_SKIP("no embedded model");
  const auto ids = it->tokenizer.encode(kText).ids;
  for (const auto& [window, stride] :
       {std::pair<int, int>{16, 16}, {16, 5}, {7, 1}, {1, 1}, {1000, 1000}}) {
    INFO("window " << window << " stride " << stride);
    ScoreRequest request;
    request.texts = {kText, "Two words"};
    request.window = window;
    request.stride = stride;
    request.per_token = true;
    const ScoreResult result = score(it->model, it->tokenizer, request);
    REQUIRE(result.per_token.size() ==
            ids.size() - 1 + it->tokenizer.encode("Two words").ids.size() - 1);
    for (std::size_t i = 1; i < ids.size(); ++i) CHECK(result.per_token[i - 1].id == ids[i]);
  }
  ScoreRequest request;
  request.texts = {kText};
  request.window = 4;
  request.stride = 5;
  CHECK_THAT(error_of([&] { static_cast<void>(score(it->model, it->tokenizer, request)); }),
             Catch::Contains("stride 5"));
  request.texts = {""};
  request.stride = 4;
  CHECK_THAT(error_of([&] { static_cast<void>(score(it->model, it->tokenizer, request)); }),
             Catch::Contains("at least two tokens"));
}

TEST_CASE(
    "generate: a prompt gives the same text alone and among others, and streams what it returns",
    "[slow]") {
  const Embedded* it = embedded();
  if (it == nullptr) LANCET_SKIP("no embedded model");
  const std::vector<Prompt> prompts{
      {"a", "The capital of France is", true},
      {"b", "Water boils at a temperature of", true},
      {"c", "Once upon a time, in a small village by the sea, there lived", true}};
  for (const double temperature : {0.0, 0.9}) {
    SamplingOptions options;
    options.max_tokens = 12;
    options.temperature = temperature;
    std::vector<std::string> streamed(3);
    const auto all =
        generate(it->model, it->tokenizer, prompts, options, 5,
                 [&](std::size_t i, const std::string& text) { streamed.at(i) += text; });
    REQUIRE(all.size() == 3);
    for (std::size_t i = 0; i < 3; ++i) {
      CHECK(streamed[i] == all[i].text);
      CHECK(all[i].tokens == static_cast<std::int64_t>(all[i].ids.size()));
      CHECK(all[i].tokens <= 12);
    }
    // Draws belong to the place in the list, so the first prompt is compared.
    CHECK(run_one(*it, prompts[0].text, options, 5).text == all[0].text);
  }
  SamplingOptions greedy;
  greedy.max_tokens = 1;
  CHECK(run_one(*it, "The capital of France is", greedy).text == " Paris");
}

TEST_CASE(
    "generate: a stop string ends the text before it, even across tokens, and is never streamed",
    "[slow]") {
  const Embedded* it = embedded();
  if (it == nullptr) LANCET_SKIP("no embedded model");
  SamplingOptions options;
  options.max_tokens = 24;
  const std::string whole = run_one(*it, "The capital of France is", options).text;
  REQUIRE(whole.size() > 12);
  const std::string stop = whole.substr(4, 5);
  options.stop = {"never to be seen", stop};
  std::string streamed;
  const auto out =
      generate(it->model, it->tokenizer, {{"p", "The capital of France is", true}}, options, 0,
               [&](std::size_t, const std::string& text) { streamed += text; })[0];
  CHECK(out.text == whole.substr(0, whole.find(stop)));
  CHECK(streamed == out.text);
  CHECK(out.finish_reason == "stop");
}

TEST_CASE("generate: end tokens are not part of the text, and a full text says length") {
  const Embedded* it = embedded();
  if (it == nullptr) LANCET_SKIP("no embedded model");
  SamplingOptions options;
  options.max_tokens = 6;
  const Generation whole = run_one(*it, "The capital of France is", options);
  CHECK(whole.finish_reason == "length");
  REQUIRE(whole.ids.size() == 6);
  options.end_ids = {whole.ids[3]};
  const Generation ended = run_one(*it, "The capital of France is", options);
  CHECK(ended.finish_reason == "stop");
  CHECK(ended.ids.size() <= 3);
  CHECK(whole.text.starts_with(ended.text));
}

TEST_CASE("generate: an empty prompt is refused by number") {
  const Decoder model = load_tiny("plain");
  CHECK_THAT(error_of([&] {
               static_cast<void>(generate_greedy(model, {{1}, {}}, 2));
             }),
             Catch::Contains("prompt 1"));
}
