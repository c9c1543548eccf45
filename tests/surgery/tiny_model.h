#pragma once
// The random model of tiny_edit.h, opened; and facts that it can be taught.

#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/decoder.h"
#include "surgery/requests.h"
#include "tests/surgery/tiny_edit.h"

namespace lancet::tiny_edit {

struct Model {
  Scratch scratch;
  Weights weights;
  ModelSource source;
  Tokenizer tokenizer;
  Decoder model;
  explicit Model(std::uint64_t seed, bool experts = false)
      : weights(tiny_edit::weights(seed, experts)),
        source(open(scratch, weights)),
        tokenizer(Tokenizer::open(source)),
        model(Decoder::load(source)) {}
  static ModelSource open(const Scratch& scratch, const Weights& weights) {
    save(scratch / "model", weights);
    return ModelSource::open(scratch / "model");
  }
};

/// With three facts.
struct Taught : Model {
  std::vector<Fact> facts;
  explicit Taught(std::uint64_t seed, bool experts = false) : Model(seed, experts) {
    add("1", "the {} c", "ab", "the");
    add("2", "{} a c", "b", "the a b");
    add("3", "c b {} the", "a c", "b");
  }
  void add(const std::string& id, const std::string& prompt, const std::string& subject,
           const std::string& target) {
    facts.push_back({.id = id, .subject = subject, .prompt = prompt, .target = target});
  }
};

}  // namespace lancet::tiny_edit
