// Tokenizers that are one binary or text file of their own: SentencePiece models and tiktoken
// ranks.

#include "core/text.h"
#include "formats/tokenizer/sentencepiece.h"
#include "formats/tokenizer/tiktoken.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

/// What the classes of transformers add around a text when tokenizer_config.json does not say.
struct Habit {
  std::string_view family;  ///< in "tokenizer_class"
  bool bos;
  bool eos;
};
constexpr Habit kHabits[] = {{"Llama", true, false}, {"Gemma", true, false}, {"T5", false, true}};

void add_habits(const Json& config, SentencePieceModel& model, const Where& where) {
  const std::string name = where.string(config, "tokenizer_class", "");
  for (const Habit& habit : kHabits) {
    if (name.find(habit.family) == name.npos) continue;
    model.add_bos = habit.bos;
    model.add_eos = habit.eos;
  }
  model.add_bos = where.boolean(config, "add_bos_token", model.add_bos);
  model.add_eos = where.boolean(config, "add_eos_token", model.add_eos);
}

}  // namespace

std::shared_ptr<Tokenizer::Impl> read_model_file(std::string_view bytes, std::string_view source,
                                                 const DeclaredTokens& declared) {
  const Where where{std::string(source), "", 0};
  if (bytes.starts_with('\n')) {  // field 1, a message: the first piece
    SentencePieceModel model = parse_sentencepiece(bytes, where);
    add_habits(declared.config, model, where);
    return make_sentencepiece(model, where, declared);
  }
  const std::string_view line = bytes.substr(0, bytes.find('\n'));
  if (line.find(' ') == line.npos || find_invalid_utf8(line)) {
    where.fail_input(
        "expected tokenizer.json, a SentencePiece model or tiktoken ranks, found none");
  }
  return make_tiktoken(bytes, declared.config, where);
}

}  // namespace lancet
