// Every family as transformers computes it: random tiny checkpoints with their logits and greedy
// texts (tests/oracle/make_family_goldens.py).

#include <algorithm>
#include <set>
#include <string>

#include "core/file.h"
#include "core/text.h"
#include "formats/model_source.h"
#include "model/architecture.h"
#include "model/generate.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

std::string type_of(const std::string& name) { return name.substr(0, name.find('-')); }

}  // namespace

TEST_CASE("families: every architecture has a stored model, and every stored model is of one") {
  std::set<std::string> stored;
  for (const std::string& name : family_names()) stored.insert(type_of(name));
  stored.insert("llama");  // tests/data/tiny_models
  std::set<std::string> known;
  for (const Architecture* architecture : architecture_registry())
    known.emplace(architecture->name);
  CHECK(stored == known);
}

TEST_CASE("families: logits equal transformers'", "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    CHECK(model.spec().model_type == type_of(name));
    const double difference = max_abs(model.forward(golden(name, "ids")), golden(name, "logits"));
    INFO("max abs " << difference);
    CHECK(difference < tolerance::kTinyLogits);
  }
}

TEST_CASE("families: greedy texts equal transformers', with a cache and without", "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const std::int64_t prompt = golden(name, "prompt_tokens").item<std::int64_t>();
    const at::Tensor ids = golden(name, "ids").slice(1, 0, prompt).contiguous();
    const auto expected = as_lists(golden(name, "greedy"));
    const at::Tensor gap = golden(name, "gap");
    const auto cached = generate_greedy(model, as_lists(ids), 16);
    const auto whole = greedy_without_cache(model, ids, 16);
    for (std::size_t row = 0; row < expected.size(); ++row) {
      for (std::size_t i = 0; i < 16; ++i) {
        const auto at = static_cast<std::int64_t>(i);
        if (gap[static_cast<std::int64_t>(row)][at].item<double>() < tolerance::kGreedyGap) break;
        CHECK(cached[row][i] == expected[row][i]);
        CHECK(whole[row][i] == expected[row][i]);
      }
    }
  }
}

// Both below stay within the 32 tokens that phi3-longrope was "trained" on: beyond them the keys of
// a cache are made again, which Session does (rope_length_test.cpp).
TEST_CASE("families: a text in pieces through a cache has the hidden states of the whole text",
          "[slow]") {
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor ids = golden(name, "ids").slice(1, 0, 31).contiguous();
    const std::int64_t layers = model.spec().layers;
    const at::Tensor whole = model.run(model.embed(ids), 0, layers);
    KvCache cache(model.spec(), 2, 8, model.options());
    std::vector<at::Tensor> parts;
    std::int64_t first = 0;
    for (const std::int64_t last : {7, 8, 22, 23, 31}) {
      const at::Tensor part = ids.slice(1, first, last).contiguous();
      parts.push_back(model.run(model.embed(part), 0, layers,
                                {.cache = &cache, .append = true, .lengths = {}, .hook = {}}));
      cache.advance({last - first, last - first});
      first = last;
    }
    CHECK(relative(at::cat(parts, 1), whole) < tolerance::kSameModel);
  }
}

TEST_CASE("families: rows of different length in one batch have the hidden states they have alone",
          "[slow]") {
  const std::vector<std::int64_t> lengths{9, 21};
  for (const std::string& name : family_names()) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor ids = golden(name, "ids").slice(1, 0, 40).contiguous();
    const std::int64_t layers = model.spec().layers;
    KvCache cache(model.spec(), 2, 40, model.options());
    static_cast<void>(model.run(model.embed(ids.slice(1, 0, 21).contiguous()), 0, layers,
                                {.cache = &cache, .append = true, .lengths = lengths, .hook = {}}));
    cache.advance(lengths);
    const at::Tensor next = ids.slice(1, 35, 40).contiguous();
    const at::Tensor out = model.run(model.embed(next), 0, layers,
                                     {.cache = &cache, .append = true, .lengths = {}, .hook = {}});
    for (std::int64_t b = 0; b < 2; ++b) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)];
      const at::Tensor alone =
          at::cat({ids.narrow(0, b, 1).slice(1, 0, length), next.narrow(0, b, 1)}, 1);
      const at::Tensor expected = model.run(model.embed(alone), 0, layers).slice(1, length);
      CHECK(relative(out.narrow(0, b, 1), expected) < tolerance::kSameModel);
    }
  }
}
