#pragma once
// A tiny model with its tokenizer, and facts about it.

#include "surgery/locate/runs.h"
#include "tests/surgery/tiny_edit.h"

namespace lancet::tiny_locate {

struct Loaded {
  Scratch scratch;
  Tokenizer tokenizer;
  Decoder model;
};

inline Loaded load(std::uint64_t seed) {
  Scratch scratch;
  tiny_edit::save(scratch / "m", tiny_edit::weights(seed));
  const ModelSource source = ModelSource::open(scratch / "m");
  return {{}, Tokenizer::open(source), Decoder::load(source)};
}

inline Fact fact(const std::string& prompt, const std::string& subject,
                 const std::string& target = "") {
  Fact out;
  out.id = "1";
  out.prompt = prompt;
  out.subject = subject;
  out.target = target;
  return out;
}

/// Prompts whose subject stands first, in the middle, last; of one token; with a target of several.
inline std::vector<Fact> facts() {
  return {fact("the {} c the b", "ab a"), fact("{} c the b a", "the ab", "the"),
          fact("a b the {}", "c ab"), fact("{}", "ab"), fact("a {} b", "c", "the ab c")};
}

inline LocatePrompt prompt_of(const Loaded& loaded, const Fact& fact) {
  LocatePrompt out = read_prompt(loaded.tokenizer, fact, true);
  answer_by_model(loaded.model, loaded.tokenizer, out);
  return out;
}

}  // namespace lancet::tiny_locate
