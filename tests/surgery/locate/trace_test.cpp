#include "surgery/locate/trace.h"

#include "core/error.h"
#include "core/parallel.h"
#include "model/runtime.h"
#include "tests/catch.h"
#include "tests/surgery/locate/plain_trace.h"
#include "tests/surgery/locate/tiny_locate.h"
#include "tests/surgery/tolerances.h"

using namespace lancet;

namespace {

constexpr TraceKind kAll[] = {TraceKind::kHidden, TraceKind::kMlp, TraceKind::kAttention,
                              TraceKind::kSeveredMlp, TraceKind::kSeveredAttention};

double largest_difference(const at::Tensor& a, const at::Tensor& b) {
  return (a - b).abs().max().item<double>();
}

}  // namespace

TEST_CASE("trace: every cell of every kind equals one full forward pass", "[slow]") {
  const auto loaded = tiny_locate::load(11);
  for (const Fact& fact : tiny_locate::facts()) {
    const LocatePrompt prompt = tiny_locate::prompt_of(loaded, fact);
    CAPTURE(prompt.text, prompt.subject_first, prompt.subject_last);
    const at::Tensor embeddings = corrupted_embeddings(loaded.model, prompt, 3, 1.5, 5);
    const Runs runs = run_both(loaded.model, prompt, embeddings);
    for (const std::int64_t window : {1, 2, 3, 10}) {
      const Trace trace = trace_states(loaded.model, prompt, runs, kAll, window);
      REQUIRE(trace.maps.size() == 5);
      for (const TraceMap& map : trace.maps) {
        CAPTURE(trace_kind_name(map.kind), window);
        const at::Tensor expected =
            reference::plain_trace(loaded.model, prompt, embeddings, map.kind, window);
        const double size = expected.abs().max().item<double>();
        CHECK(largest_difference(map.scores, expected) < tolerance::kProbability * size);
        // A trace that moves nothing would agree with a model that reads nothing.
        if (map.kind == TraceKind::kHidden)
          CHECK(largest_difference(expected, at::full_like(expected, runs.low)) > 1e-2 * size);
      }
    }
  }
}

TEST_CASE("trace: restoring the last token's last state brings the clean probability back") {
  const auto loaded = tiny_locate::load(12);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const Runs runs =
      run_both(loaded.model, prompt, corrupted_embeddings(loaded.model, prompt, 4, 2, 1));
  const TraceKind kinds[] = {TraceKind::kHidden};
  const at::Tensor scores = trace_states(loaded.model, prompt, runs, kinds, 1).maps[0].scores;
  CHECK(scores[prompt.size() - 1][2].item<double>() == Approx(runs.high).epsilon(1e-5));
  for (std::int64_t token = 0; token + 1 < prompt.size(); ++token)
    CHECK(scores[token][2].item<double>() == Approx(runs.low).epsilon(1e-5));
}

TEST_CASE("trace: small batches give the same cells with more calls") {
  const auto loaded = tiny_locate::load(13);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[1]);
  const Runs runs =
      run_both(loaded.model, prompt, corrupted_embeddings(loaded.model, prompt, 3, 2, 1));
  const Trace whole = trace_states(loaded.model, prompt, runs, kAll, 2);
  const Trace parts = trace_states(loaded.model, prompt, runs, kAll, 2, nullptr, 1);
  for (std::size_t i = 0; i < whole.maps.size(); ++i)
    CHECK(largest_difference(whole.maps[i].scores, parts.maps[i].scores) < tolerance::kForward);
  CHECK(parts.work.layer_calls > whole.work.layer_calls);
  CHECK(parts.work.token_layers >= whole.work.token_layers);
}

TEST_CASE("trace: noise and scores have the same bits for any number of threads") {
  const auto loaded = tiny_locate::load(14);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const int before = parallel::threads();
  std::vector<at::Tensor> noise, scores;
  for (const int threads : {1, 2, 4}) {
    parallel::set_threads(threads);
    init_runtime();
    noise.push_back(corrupted_embeddings(loaded.model, prompt, 3, 2, 9));
    const Runs runs = run_both(loaded.model, prompt, noise.back());
    scores.push_back(trace_states(loaded.model, prompt, runs, kAll, 2).maps[0].scores);
  }
  parallel::set_threads(before);
  init_runtime();
  for (const std::size_t i : {1U, 2U}) {
    CHECK(noise[i].equal(noise[0]));
    CHECK(scores[i].equal(scores[0]));
  }
  CHECK_FALSE(corrupted_embeddings(loaded.model, prompt, 3, 2, 10).equal(noise[0]));
}

TEST_CASE("trace: noise touches the subject's tokens and has the deviation asked for") {
  const auto loaded = tiny_locate::load(15);
  const LocatePrompt prompt = tiny_locate::prompt_of(loaded, tiny_locate::facts()[0]);
  const at::Tensor all = corrupted_embeddings(loaded.model, prompt, 400, 2.5, 3);
  const at::Tensor change = all.narrow(0, 1, 400) - all.narrow(0, 0, 1);
  const std::int64_t subject = prompt.subject_last - prompt.subject_first + 1;
  const at::Tensor own = change.narrow(1, prompt.subject_first, subject);
  CHECK(own.std().item<double>() == Approx(2.5).epsilon(0.01));
  CHECK(std::abs(own.mean().item<double>()) < 0.03);
  CHECK(change.abs().sum().item<double>() ==
        Approx(own.abs().sum().item<double>()));  // nothing elsewhere
}

TEST_CASE("trace: sigma is the deviation of all elements of the subjects' embeddings") {
  const auto loaded = tiny_locate::load(16);
  std::vector<double> values;
  for (const char* subject : {"ab c", "the"}) {
    for (const TokenId id : loaded.tokenizer.encode(subject, false).ids) {
      const at::Tensor row =
          loaded.model.weight("model.embed_tokens.weight")[id].to(at::kDouble).contiguous();
      values.insert(values.end(), row.data_ptr<double>(), row.data_ptr<double>() + row.numel());
    }
  }
  double mean = 0, square = 0;
  for (const double value : values) mean += value / static_cast<double>(values.size());
  for (const double value : values) square += (value - mean) * (value - mean);
  CHECK(subject_sigma(loaded.model, loaded.tokenizer, {"ab c", "the"}) ==
        Approx(std::sqrt(square / static_cast<double>(values.size() - 1))));
}

TEST_CASE("trace: prompts without a place for the subject are refused with the reason") {
  const auto loaded = tiny_locate::load(1);
  const auto refusal = [&](const Fact& fact) {
    try {
      (void)read_prompt(loaded.tokenizer, fact, true);
    } catch (const Error& error) {
      CHECK(error.kind() == ErrorKind::kUsage);
      return std::string(error.what());
    }
    return std::string("accepted");
  };
  CHECK_THAT(refusal(tiny_locate::fact("the b c", "ab")), Catch::Contains("the subject 'ab'"));
  CHECK_THAT(refusal(tiny_locate::fact("ab c ab", "ab")), Catch::Contains("more than once"));
  CHECK_THAT(refusal(tiny_locate::fact("{} c {}", "ab")), Catch::Contains("several"));
  CHECK_THAT(refusal(tiny_locate::fact("a b", "")), Catch::Contains("expected a subject"));
  CHECK_THAT(refusal(tiny_locate::fact("c {}b", "a")), Catch::Contains("token 'ab'"));
  CHECK_THAT(refusal(tiny_locate::fact("c a{}", "b")), Catch::Contains("token 'ab'"));
  CHECK(refusal(tiny_locate::fact("c ab the", "ab")) == "accepted");
}

TEST_CASE("trace: the roles of the tokens are those of the paper's figure") {
  LocatePrompt prompt;
  prompt.ids.resize(8);
  prompt.subject_first = 1;
  prompt.subject_last = 3;
  using List = std::vector<std::int64_t>;
  CHECK(role_tokens(prompt, TokenRole::kFirstSubject) == List{1});
  CHECK(role_tokens(prompt, TokenRole::kMiddleSubject) == List{2});
  CHECK(role_tokens(prompt, TokenRole::kLastSubject) == List{3});
  CHECK(role_tokens(prompt, TokenRole::kNext) == List{4});
  CHECK(role_tokens(prompt, TokenRole::kFurther) == List{5, 6});
  CHECK(role_tokens(prompt, TokenRole::kLast) == List{7});
  prompt.ids.resize(4);
  CHECK(role_tokens(prompt, TokenRole::kNext).empty());
  CHECK(role_tokens(prompt, TokenRole::kFurther).empty());
  CHECK(role_tokens(prompt, TokenRole::kLast) == List{3});
}
