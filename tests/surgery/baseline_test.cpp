// What is kept of an unedited model is what the model says.
#include <cstdlib>

#include "core/parallel.h"
#include "surgery/baseline.h"
#include "surgery/contexts.h"
#include "surgery/probe.h"
#include "tests/catch.h"
#include "tests/surgery/tiny_edit.h"

using namespace lancet;

namespace {

/// A tiny model, and a cache folder of its own while it lives.
struct Tiny {
  Scratch scratch;
  ModelSource source;
  Tokenizer tokenizer;
  Decoder model;
  explicit Tiny(std::uint64_t seed)
      : source(open(scratch, seed)),
        tokenizer(Tokenizer::open(source)),
        model(Decoder::load(source)) {
    ::setenv("LANCET_CACHE", (scratch / "cache").c_str(), 1);
  }
  ~Tiny() { ::unsetenv("LANCET_CACHE"); }
  static ModelSource open(const Scratch& scratch, std::uint64_t seed) {
    tiny_edit::save(scratch / "model", tiny_edit::weights(seed));
    return ModelSource::open(scratch / "model");
  }
  [[nodiscard]] Baseline baseline() const { return {model, tokenizer, source.config()}; }
  [[nodiscard]] std::vector<fs::path> files() const {
    std::vector<fs::path> out;
    for (const auto& entry : fs::directory_iterator(scratch / "cache" / "baseline"))
      out.push_back(entry.path());
    return out;
  }
};

}  // namespace

TEST_CASE("baseline: what comes from the file is what the model says") {
  const Tiny tiny(1);
  const auto contexts = sample_contexts(tiny.model, tiny.tokenizer, 4, 7);
  const double perplexity = shipped_perplexity(tiny.model, tiny.tokenizer, 40);
  for (int round = 0; round < 2; ++round) {  // computed, then read
    Baseline baseline = tiny.baseline();
    CHECK(baseline.contexts(4, 7) == contexts);
    CHECK(baseline.perplexity(40) == perplexity);
    CHECK(tiny.files().size() == 1);
  }
  CHECK(tiny.baseline().contexts(4, 8) != contexts);
  CHECK(tiny.baseline().contexts(3, 7).size() == 4);
}

TEST_CASE("baseline: the file is read, and is another one for another model") {
  const Tiny tiny(1);
  (void)tiny.baseline().perplexity(40);
  Json stored = read_json(tiny.files().front());
  stored["values"]["perplexity"]["40 tokens"] = 123.5;
  write_file(tiny.files().front(), dump_json(stored));
  CHECK(tiny.baseline().perplexity(40) == 123.5);

  const std::string name = "model.layers.1.mlp.down_proj.weight";
  const Decoder other = tiny.model.with_weight(name, tiny.model.weight(name) * 2);
  CHECK(Baseline(other, tiny.tokenizer, tiny.source.config()).perplexity(40) ==
        shipped_perplexity(other, tiny.tokenizer, 40));
  CHECK(tiny.files().size() == 2);
}

TEST_CASE("baseline: a damaged file is computed anew") {
  const Tiny tiny(1);
  const double perplexity = tiny.baseline().perplexity(40);
  const std::string good = read_file(tiny.files().front());
  Json wrong_type = parse_json(good, "test");
  wrong_type["values"]["perplexity"]["40 tokens"] = "low";
  Json other_identity = parse_json(good, "test");
  other_identity["identity"]["dtype"] = "BFloat16";
  other_identity["values"]["perplexity"]["40 tokens"] = 1.5;
  for (const std::string& text : {std::string(), good.substr(0, good.size() / 2), std::string("[]"),
                                  dump_json(wrong_type), dump_json(other_identity)}) {
    write_file(tiny.files().front(), text);
    CHECK(tiny.baseline().perplexity(40) == perplexity);
  }
}
