// RoPE whose frequencies go by the length of a text (dynamic, longrope; 32 tokens trained): every
// text is turned by its own length, however it is read and whatever lies beside it.

#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/generate.h"
#include "model/session.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"
#include "tests/tolerances.h"

using namespace lancet;
using namespace lancet::test;

namespace {

const std::vector<std::string> kLongRope{"longrope", "phi3-longrope"};
const std::vector<std::string> kAll{"longrope", "phi3-longrope", "dynamic"};

using Rows = std::vector<std::vector<std::int32_t>>;

std::vector<std::int32_t> text_of(std::int64_t tokens, std::uint64_t seed = 7) {
  return as_lists(random_ids(1, tokens, seed))[0];
}

at::Tensor row_of(const std::vector<std::int32_t>& text) {
  return at::tensor(std::vector<std::int64_t>(text.begin(), text.end()), at::kLong).unsqueeze(0);
}

}  // namespace

TEST_CASE("rope by length: a prompt read in pieces is turned as one that is read at once") {
  for (const std::string& name : kAll) {
    for (const std::int64_t tokens : {30, 32, 33, 50}) {
      INFO(name << ", " << tokens << " tokens");
      const Decoder model = load_tiny(name);
      const auto text = text_of(tokens);
      const Session session(model, {text}, 4, 7);
      const at::Tensor whole = model.forward(row_of(text)).select(1, tokens - 1);
      CHECK(max_abs(session.logits(), whole) < tolerance::kTinyLogits);
    }
  }
}

TEST_CASE("rope by length: an answer that crosses longrope's original length is that of no cache") {
  for (const std::string& name : kLongRope) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor ids = random_ids(1, 26);
    CHECK(generate_greedy(model, as_lists(ids), 14) == greedy_without_cache(model, ids, 14));
    // Forced tokens: logits, not only their largest.
    auto text = as_lists(ids)[0];
    Session session(model, {text}, 14);
    for (const std::int32_t next : text_of(14, 3)) {
      session.feed({next});
      text.push_back(next);
      const at::Tensor whole = model.forward(row_of(text)).select(1, std::ssize(text) - 1);
      CHECK(max_abs(session.logits(), whole) < tolerance::kTinyLogits);
    }
  }
}

TEST_CASE("rope by length: texts side by side say what each says alone, bit for bit") {
  const Rows prompts{text_of(5, 1), text_of(28, 2), text_of(45, 3), text_of(30, 4)};
  for (const std::string& name : kAll) {
    INFO(name);
    const Decoder model = load_tiny(name);
    Session together(model, prompts, 12);
    std::vector<Session> alone;
    for (const auto& prompt : prompts) alone.emplace_back(model, Rows{prompt}, 12);
    for (const std::int32_t next : text_of(12, 5)) {
      for (std::size_t row = 0; row < prompts.size(); ++row)
        CHECK(same_bits(together.logits()[static_cast<std::int64_t>(row)], alone[row].logits()[0]));
      together.feed({next, next, next, next});
      for (Session& each : alone) each.feed({next});
    }
    together.keep({3, 1});
    together.feed({4, 4});
    alone[1].feed({4});
    CHECK(same_bits(together.logits()[1], alone[1].logits()[0]));
  }
}

TEST_CASE("rope by length: padded and packed rows have the hidden states they have alone") {
  const std::vector<std::int64_t> lengths{20, 40, 33};
  for (const std::string& name : kAll) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const std::int64_t layers = model.spec().layers;
    const at::Tensor ids = random_ids(3, 40);
    const at::Tensor padded = model.run(model.embed(ids), 0, layers, {.lengths = lengths});
    std::vector<at::Tensor> parts;
    for (std::int64_t b = 0; b < 3; ++b)
      parts.push_back(ids.narrow(0, b, 1).narrow(1, 0, lengths[static_cast<std::size_t>(b)]));
    const at::Tensor packed =
        model.run(model.embed(at::cat(parts, 1)), 0, layers, {.segments = lengths});
    std::int64_t begin = 0;
    for (std::int64_t b = 0; b < 3; ++b) {
      const std::int64_t length = lengths[static_cast<std::size_t>(b)];
      const at::Tensor alone =
          model.run(model.embed(parts[static_cast<std::size_t>(b)]), 0, layers)[0];
      CHECK(relative(padded[b].narrow(0, 0, length), alone) < tolerance::kSameModel);
      CHECK(relative(packed[0].narrow(0, begin, length), alone) < tolerance::kSameModel);
      begin += length;
    }
  }
}

TEST_CASE("rope by length: a cache that expects a longer text holds that text's keys") {
  for (const std::string& name : kAll) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const at::Tensor ids = random_ids(1, 40);
    const std::int64_t layers = model.spec().layers;
    const at::Tensor whole = model.run(model.embed(ids), 0, layers);
    KvCache cache(model.spec(), 1, 40, model.options());
    cache.expect({40});
    const Pass pass{.cache = &cache, .append = true};
    const at::Tensor first = model.run(model.embed(ids.narrow(1, 0, 25)), 0, layers, pass);
    cache.advance({25});
    const at::Tensor rest = model.run(model.embed(ids.narrow(1, 25, 15)), 0, layers, pass);
    CHECK(relative(at::cat({first, rest}, 1), whole) < tolerance::kSameModel);
  }
}

TEST_CASE("rope by length: a conversation that grows over the trained length says what it would") {
  SamplingOptions options;
  options.max_tokens = 6;
  options.end_ids = {100000};
  for (const std::string& name : kAll) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const Tokenizer tokenizer = word_tokenizer(model.spec().vocab);
    Conversation talk(model, options);
    std::vector<std::int32_t> text = text_of(9);
    std::vector<std::int64_t> read;
    for (int turn = 0; turn < 5; ++turn) {
      const Generation g = talk.answer(tokenizer, {"", "", true, 0, text}, 0);
      CHECK(g.ids == generate(model, tokenizer, {{"", "", true, 0, text}}, options, 0)[0].ids);
      read.push_back(g.read_tokens);
      text.insert(text.end(), g.ids.begin(), g.ids.end());
      text.insert(text.end(), {5, 11, 3});
    }
    CHECK(read[0] == 9);
    CHECK(read[1] == 4);  // what is new, and the last token of the answer
    CHECK(read[4] == (name == "dynamic" ? 45 : 4));
  }
}
