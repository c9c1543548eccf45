// A conversation reads of each prompt only what is new, and says what it would say after reading
// all of it.

#include <string>
#include <vector>

#include "formats/tokenizer/tokenizer.h"
#include "model/generate.h"
#include "tests/catch.h"
#include "tests/model/tiny.h"

using namespace lancet;
using namespace lancet::test;

namespace {

SamplingOptions nine_tokens() {
  SamplingOptions options;
  options.max_tokens = 9;
  options.end_ids = {100000};
  return options;
}

void append(std::vector<std::int32_t>& ids, const std::vector<std::int32_t>& more) {
  ids.insert(ids.end(), more.begin(), more.end());
}

}  // namespace

TEST_CASE("conversation: only new tokens are read, and the text is that of the whole prompt") {
  const SamplingOptions options = nine_tokens();
  for (const std::string name : {"plain", "qwen3-window", "gpt2", "gpt_oss", "mamba", "jamba"}) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const Tokenizer tokenizer = word_tokenizer(model.spec().vocab);
    const bool states = model.spec().layer[0].ssm;
    Conversation talk(model, options);
    std::vector<std::int32_t> text = as_lists(random_ids(1, 12))[0];
    const auto turn = [&](std::int64_t read) {
      const Generation g = talk.answer(tokenizer, {"", "", true, 0, text}, 0);
      const Generation whole = generate(model, tokenizer, {{"", "", true, 0, text}}, options, 0)[0];
      CHECK(g.ids == whole.ids);
      CHECK(g.text == whole.text);
      CHECK(g.prompt_tokens == std::ssize(text));
      CHECK(g.read_tokens == read);
      CHECK(whole.read_tokens == std::ssize(text));
      append(text, g.ids);
    };
    turn(12);
    append(text, {5, 9, 11, 3});
    turn(5);  // and the last token of the answer, which nothing was said after
    text.resize(15);
    append(text, {8, 8, 1});
    turn(states ? 18 : 3);  // a state goes back to nothing but the beginning
    text.pop_back();
    turn(states ? std::ssize(text) : 1);  // shorter than what is kept: its last token is read
    text = as_lists(random_ids(1, 7, 3))[0];
    if (text[0] != as_lists(random_ids(1, 1))[0][0]) turn(7);
  }
}

TEST_CASE("conversation: an answer that was interrupted is kept as far as it came") {
  const SamplingOptions options = nine_tokens();
  for (const std::string name : {"plain", "mamba"}) {
    INFO(name);
    const Decoder model = load_tiny(name);
    const Tokenizer tokenizer = word_tokenizer(model.spec().vocab);
    Conversation talk(model, options);
    std::vector<std::int32_t> text = as_lists(random_ids(1, 12))[0];
    std::size_t pieces = 0;
    const std::vector<std::int32_t> all =
        generate(model, tokenizer, {{"", "", true, 0, text}}, options, 0)[0].ids;
    CHECK_THROWS(
        talk.answer(tokenizer, {"", "", true, 0, text}, 0, [&](std::size_t, const std::string&) {
          if (++pieces == 4) throw std::runtime_error("stop");
        }));
    text.insert(text.end(), all.begin(), all.begin() + 4);
    append(text, {7, 2});
    const Generation g = talk.answer(tokenizer, {"", "", true, 0, text}, 0);
    CHECK(g.read_tokens == 3);  // the fourth was said, not read
    CHECK(g.ids == generate(model, tokenizer, {{"", "", true, 0, text}}, options, 0)[0].ids);
  }
}
