// What a text may be made of (allowed ids, modality), and the log probabilities of its tokens.

#include <algorithm>
#include <string>

#include "core/error.h"
#include "formats/tokenizer/tokenizer.h"
#include "model/generate.h"
#include "model/vocabulary.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

constexpr std::int64_t kTokens = 9;

std::vector<std::int32_t> prompt_of(const std::string& name) {
  return as_lists(golden(name, "ids").slice(1, 0, 12).contiguous())[0];
}

Generation said(const Decoder& model, const std::string& name, const SamplingOptions& options) {
  return generate(model, word_tokenizer(model.spec().vocab), {{"", "", true, 0, prompt_of(name)}},
                  options, 0)[0];
}

bool in(const std::vector<IdRange>& ranges, std::int64_t id) {
  return std::ranges::any_of(
      ranges, [id](const IdRange& range) { return id >= range.first && id < range.second; });
}

/// Greedy over the ids that may be said, from the logits of full passes without any mask.
std::vector<std::int32_t> slow(const Decoder& model, const std::string& name,
                               const std::vector<IdRange>& allowed) {
  const Decoder open = model.with_masked_ids({});
  std::vector<std::int32_t> ids = prompt_of(name);
  for (std::int64_t step = 0; step < kTokens; ++step) {
    const at::Tensor logits =
        open.forward(at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong)
                         .unsqueeze(0))[0][-1];
    std::int64_t best = -1;
    for (std::int64_t id = 0; id < model.spec().vocab; ++id) {
      if (!in(allowed, id)) continue;
      if (best < 0 || logits[id].item<float>() > logits[best].item<float>()) best = id;
    }
    ids.push_back(static_cast<std::int32_t>(best));
  }
  return {ids.end() - kTokens, ids.end()};
}

SamplingOptions no_end() {
  SamplingOptions options;
  options.max_tokens = kTokens;
  options.end_ids = {1 << 20};
  return options;
}

}  // namespace

TEST_CASE("vocabulary: the ids that lie in no range, in order") {
  CHECK(other_ids({}, 4) == std::vector<IdRange>{{0, 4}});
  CHECK(other_ids({{2, 3}, {0, 1}}, 5) == std::vector<IdRange>{{1, 2}, {3, 5}});
  CHECK(other_ids({{1, 4}, {2, 3}, {3, 6}}, 6) == std::vector<IdRange>{{0, 1}});
  CHECK(other_ids({{0, 6}}, 6).empty());
}

TEST_CASE("vocabulary: texts of a model of text and images, images alone, and both") {
  for (const std::string name : {"chameleon", "chameleon-swin"}) {
    const Decoder model = load_tiny(name);
    const DecoderSpec& spec = model.spec();
    REQUIRE(spec.image_ids == std::vector<IdRange>{{4, 10}, {20, 23}});
    SamplingOptions options = no_end();
    CHECK(said(model, name, options).ids ==
          slow(model, name, other_ids(spec.image_ids, spec.vocab)));
    options.modality = "image";
    CHECK(said(model, name, options).ids == slow(model, name, spec.image_ids));
    options.allowed_ids = {{0, 6}};
    CHECK(said(model, name, options).ids == slow(model, name, {{4, 6}}));
    options.allowed_ids.clear();
    options.modality = "any";
    CHECK(said(model, name, options).ids == slow(model, name, {{0, spec.vocab}}));
  }
}

TEST_CASE("vocabulary: allowed ids hold for sampled texts too, and end them where they may") {
  const Decoder model = load_tiny("mamba");
  SamplingOptions options = no_end();
  options.temperature = 5;
  options.max_tokens = 40;
  options.allowed_ids = {{7, 9}, {30, 31}};
  const Generation free = said(model, "mamba", options);
  CHECK(free.finish_reason == "length");
  for (const std::int32_t id : free.ids) CHECK(in(options.allowed_ids, id));
  options.end_ids = {30};
  CHECK(said(model, "mamba", options).finish_reason == "stop");
}

TEST_CASE("vocabulary: what cannot be said is refused") {
  const Decoder model = load_tiny("chameleon");
  const auto refused = [&](const SamplingOptions& options, const Decoder& of) {
    return error_of([&] { static_cast<void>(unsaid_ids(of.spec(), options)); });
  };
  SamplingOptions options;
  options.allowed_ids = {{60, 65}};
  CHECK_THAT(refused(options, model), Catch::Contains("0 to 63") && Catch::Contains("60-64"));
  options.allowed_ids = {{4, 6}};
  CHECK_THAT(refused(options, model), Catch::Contains("leave a token"));
  options.allowed_ids.clear();
  options.modality = "image";
  CHECK_THAT(refused(options, load_tiny("mamba")), Catch::Contains("found a mamba"));
}

TEST_CASE("vocabulary: log probabilities are the model's own, whatever the sampling") {
  const Decoder model = load_tiny("jamba");
  SamplingOptions options = no_end();
  options.temperature = 2;
  options.top_k = 20;
  options.repetition_penalty = 1.5;
  options.logprobs = 3;
  const Generation g = said(model, "jamba", options);
  REQUIRE(g.logprobs.size() == g.ids.size());
  std::vector<std::int32_t> ids = prompt_of("jamba");
  for (std::size_t i = 0; i < g.ids.size(); ++i) {
    const at::Tensor row = at::log_softmax(
        model
            .forward(at::tensor(std::vector<std::int64_t>(ids.begin(), ids.end()), at::kLong)
                         .unsqueeze(0))[0][-1]
            .to(at::kDouble),
        -1);
    const auto [values, order] = at::sort(row, -1, true);
    const TokenLogprob& token = g.logprobs[i];
    CHECK(token.said.id == g.ids[i]);
    CHECK(token.said.text == "t" + std::to_string(g.ids[i]));
    CHECK(std::abs(token.said.logprob - row[g.ids[i]].item<double>()) < tolerance::kLogProbability);
    REQUIRE(token.top.size() == 3);
    for (std::int64_t k = 0; k < 3; ++k) {
      const LikelyToken& each = token.top[static_cast<std::size_t>(k)];
      CHECK(each.id == order[k].item<std::int64_t>());
      CHECK(std::abs(each.logprob - values[k].item<double>()) < tolerance::kLogProbability);
    }
    ids.push_back(g.ids[i]);
  }
  options.logprobs = -1;
  CHECK(said(model, "jamba", options).logprobs.empty());
}
