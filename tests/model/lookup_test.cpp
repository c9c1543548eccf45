// Tokens that are read along with the next one because they followed the same words before: the
// bits, texts and log probabilities of reading one token at a time, in fewer passes.

#include <string>
#include <vector>

#include "model/generate.h"
#include "model/kernels/gemm.h"
#include "model/lookup.h"
#include "model/lora.h"
#include "model/session.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

using Ids = std::vector<std::int32_t>;

/// Texts that repeat themselves, so that there is something to look up.
std::vector<Ids> prompts() {
  return {{5, 6, 7, 8, 9, 5, 6, 7, 8, 9, 5, 6},
          {3, 3, 3, 3, 3, 3},
          {11, 4, 2, 19, 11, 4, 2, 7, 11, 4},
          {1}};
}

Generation said(const Decoder& model, const Ids& prompt, SamplingOptions options, bool lookup,
                std::string* streamed = nullptr) {
  options.lookup = lookup;
  TextSink sink;
  if (streamed != nullptr)
    sink = [streamed](std::size_t, const std::string& text) { *streamed += text; };
  return generate(model, word_tokenizer(model.spec().vocab), {{"", "", true, 0, prompt}}, options,
                  9, sink)[0];
}

/// Passes saved.
std::int64_t check_same(const Decoder& model, const Ids& prompt, const SamplingOptions& options) {
  std::string own, other;
  const Generation a = said(model, prompt, options, true, &own);
  const Generation b = said(model, prompt, options, false, &other);
  CHECK(a.ids == b.ids);
  CHECK(a.text == b.text);
  CHECK(own == other);
  CHECK(a.finish_reason == b.finish_reason);
  CHECK(a.tokens == b.tokens);
  REQUIRE(a.logprobs.size() == b.logprobs.size());
  for (std::size_t i = 0; i < a.logprobs.size(); ++i) {
    CHECK(a.logprobs[i].said.logprob == b.logprobs[i].said.logprob);
    CHECK(a.logprobs[i].top.size() == b.logprobs[i].top.size());
  }
  CHECK(a.passes <= b.passes);
  return b.passes - a.passes;
}

}  // namespace

TEST_CASE("lookup: guesses are what followed the longest like words the last time") {
  const Ids text{1, 2, 3, 4, 9, 2, 3, 7, 7, 1, 2};
  Lookup lookup(text);
  CHECK(lookup.guess(8) == Ids{3, 4});  // two at first
  lookup.learn(2, 2);
  CHECK(lookup.guess(8) == Ids{3, 4, 9, 2});
  CHECK(lookup.guess(1) == Ids{3});
  CHECK(lookup.guess(0).empty());
  CHECK(lookup.guess(-3).empty());
  lookup.see(3);  // 1 2 3 stood at the beginning, 2 3 later: the longer one counts
  CHECK(lookup.guess(8) == Ids{4, 9, 2, 3});
  lookup.see(5);
  CHECK(lookup.guess(8).empty());  // 3 5 is new
  CHECK(Lookup(Ids{1}).guess(8).empty());
  CHECK(Lookup(Ids{}).guess(8).empty());
  CHECK(Lookup(Ids{4, 4, 4}).guess(8) == Ids{4});  // as far as the text goes
}

TEST_CASE("lookup: guesses grow to 15 tokens, and rest for longer the more often they are wrong") {
  Ids text;
  for (std::int32_t i = 0; i < 40; ++i) text.push_back(i);
  for (std::int32_t i = 0; i < 4; ++i) text.push_back(i);
  Lookup lookup(text);
  std::vector<std::size_t> sizes;
  for (int i = 0; i < 5; ++i) {
    sizes.push_back(lookup.guess(100).size());
    lookup.learn(sizes.back(), sizes.back());
  }
  CHECK(sizes == std::vector<std::size_t>{2, 4, 8, 15, 15});
  lookup.learn(15, 5);
  CHECK(lookup.guess(100).size() == 5);
  for (const int rest : {1, 3, 7, 15, 31, 63, 63}) {
    lookup.learn(2, 0);
    for (int i = 0; i < rest; ++i) CHECK(lookup.guess(100).empty());
    CHECK(lookup.guess(100).size() == 2);
  }
  lookup.learn(2, 1);
  lookup.learn(2, 0);
  CHECK(lookup.guess(100).empty());
  CHECK_FALSE(lookup.guess(100).empty());
}

TEST_CASE("lookup: tokens read at once have the bits of single ones, in every family") {
  const c10::InferenceMode inference;
  std::int64_t checked = 0;
  for (const std::string& name : family_names()) {
    for (const auto& [dtype, form] : {std::pair{at::kFloat, RowForm::kPlain},
                                      {at::kBFloat16, RowForm::kPlain},
                                      {at::kBFloat16, RowForm::kTerms},
                                      {at::kBFloat16, RowForm::kRounded}}) {
      if (form == RowForm::kTerms && !kernels::has_tiles()) continue;
      const Decoder model =
          Decoder::load(ModelSource::open(folder_of(name)), {.dtype = dtype, .rows = form});
      if (!feeds_ahead(model)) continue;
      INFO(name << " " << c10::toString(dtype) << ", rows as " << static_cast<int>(form));
      ++checked;
      const Ids ids = as_lists(random_ids(1, 24) % model.spec().vocab)[0];
      const Ids prompt(ids.begin(), ids.begin() + 7);
      Session single(model, {prompt}, 30), ahead(model, {prompt}, 30);
      std::vector<at::Tensor> rows;
      for (std::size_t i = 7; i < 23; ++i) {
        single.feed({ids[i]});
        rows.push_back(single.logits()[0].clone());
      }
      ahead.feed_ahead({ids.begin() + 7, ids.begin() + 23});
      REQUIRE(ahead.logits().size(0) == 16);
      for (std::int64_t i = 0; i < 16; ++i)
        CHECK(same_bits(ahead.logits()[i], rows[static_cast<std::size_t>(i)]));
      ahead.truncate(10);
      CHECK(ahead.length() == 10);
      ahead.feed_ahead({ids[10], ids[11], 1});
      CHECK(same_bits(ahead.logits()[1], rows[4]));
      ahead.truncate(12);
      ahead.feed({ids[12]});
      CHECK(same_bits(ahead.logits()[0], rows[5]));
    }
  }
  CHECK(checked > 90);
}

TEST_CASE("lookup: more tokens than have the bits of single ones, or several texts, are refused") {
  const Decoder model = load_tiny("plain");
  Session one(model, {{1, 2}}, 30), two(model, {{1, 2}, {3}}, 30);
  CHECK_THROWS(one.feed_ahead(Ids(17, 5)));
  CHECK_THROWS(one.feed_ahead({}));
  CHECK_THROWS(two.feed_ahead({5}));
  one.feed_ahead(Ids(16, 5));
  CHECK(one.length() == 18);
}

TEST_CASE("lookup: a model with low-rank parts reads one token at a time") {
  const Decoder base = load_tiny("plain");
  const LoraAdapter adapter(base.spec(), {.targets = {"all-linear"}, .rank = 2}, 1);
  CHECK(feeds_ahead(base));
  CHECK_FALSE(feeds_ahead(base.with_low_rank(adapter.by_module())));
}

TEST_CASE("lookup: texts, streams and log probabilities are those without it, sooner") {
  std::int64_t saved = 0;
  for (const std::string name :
       {"plain", "gpt2", "gemma2", "qwen3-window", "gpt_oss", "deepseek_v2", "mixtral", "jamba"}) {
    const Decoder model = load_tiny(name);
    for (const Ids& prompt : prompts()) {
      for (const double temperature : {0.0, 0.3}) {
        INFO(name << ", " << prompt.size() << " tokens, temperature " << temperature);
        SamplingOptions options;
        options.max_tokens = 40;
        options.temperature = temperature;
        options.logprobs = 2;
        options.end_ids = {100000};
        saved += check_same(model, prompt, options);
        options.repetition_penalty = 1.3;
        saved += check_same(model, prompt, options);
      }
    }
  }
  CHECK(saved > 200);
}

TEST_CASE("lookup: a text ends where it ends without it") {
  const Decoder model = load_tiny("plain");
  for (const Ids& prompt : prompts()) {
    SamplingOptions options;
    options.max_tokens = 40;
    options.end_ids = {100000};
    const Generation whole = said(model, prompt, options, false);
    for (const std::size_t at : {0UL, 1UL, 7UL, 20UL}) {
      SamplingOptions ended = options;
      ended.end_ids = {whole.ids[at]};
      check_same(model, prompt, ended);
      SamplingOptions stopped = options;
      stopped.stop = {"t" + std::to_string(whole.ids[at])};
      check_same(model, prompt, stopped);
      SamplingOptions full = options;
      full.max_tokens = static_cast<std::int64_t>(at) + 1;
      check_same(model, prompt, full);
    }
  }
}

TEST_CASE("lookup: learned positions are not left by a guess") {
  const Decoder model = load_tiny("gpt2");  // 64 of them
  const std::int64_t positions = model.spec().max_positions;
  SamplingOptions options;
  options.end_ids = {100000};
  options.max_tokens = positions + 1 - 6;
  const Ids prompt{3, 3, 3, 3, 3, 3};
  CHECK(check_same(model, prompt, options) > 0);
  CHECK(said(model, prompt, options, true).tokens == options.max_tokens);
}

TEST_CASE("lookup: the last text of a batch goes on alone, and says the same") {
  const Decoder model = load_tiny("plain");
  std::vector<Prompt> batch;
  for (const Ids& prompt : prompts()) batch.push_back({"", "", true, 3, prompt});
  batch[1].max_tokens = 40;
  SamplingOptions options;
  options.max_tokens = 40;
  options.end_ids = {100000};
  const auto together = generate(model, word_tokenizer(model.spec().vocab), batch, options, 0);
  const Generation alone = said(model, batch[1].ids, options, false);
  CHECK(together[1].ids == alone.ids);
  CHECK(together[1].passes < alone.passes);
}
