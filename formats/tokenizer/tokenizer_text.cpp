// tokenizer.json read as text: the vocabulary and merges of BPE, nine tenths of the file, go
// straight into their tables. Whatever is out of the ordinary is left to the reader of JSON values,
// which says what is wrong.

#include <optional>

#include "core/text.h"
#include "formats/containers/json_cursor.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/model_json.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

constexpr int kDepth = 64;
constexpr std::uint64_t kStringBytes = 64U << 20U;

class BpeText {
 public:
  BpeText(std::string_view text, std::string_view source)
      : text_(text), source_(source), cursor_(text, "tokenizer", source) {}

  /// False where this reader is not meant for the file.
  bool read() {
    if (find_invalid_utf8(text_) || !text_.starts_with('{')) return false;
    cursor_.open_object("tokenizer.json");
    std::string key;
    for (bool first = true; cursor_.next_key(first, key); first = false) {
      if (description.contains(key)) return false;
      cursor_.set_subject(key);
      if (key != "model") {
        description[key] = value();
      } else if (!read_model(description[key])) {
        return false;
      }
    }
    cursor_.set_subject("");
    cursor_.finish();
    return vocabulary && merges;
  }

  Json description = Json::object();  ///< without vocab and merges
  std::optional<Vocabulary> vocabulary;
  std::optional<std::vector<Merge>> merges;

 private:
  /// Any other value.
  Json value() {
    const std::uint64_t begin = cursor_.offset();
    cursor_.skip_value(kDepth);
    return parse_json(text_.substr(begin, cursor_.offset() - begin), source_);
  }

  bool read_model(Json& model) {
    if (!cursor_.at('{')) return false;
    model = Json::object();
    cursor_.open_object("model");
    std::string key;
    for (bool first = true; cursor_.next_key(first, key); first = false) {
      if (key == "vocab") {
        if (vocabulary || !read_vocab()) return false;
      } else if (key == "merges") {
        if (merges || !vocabulary || !read_merges(model)) return false;
      } else if (merges || model.contains(key)) {
        return false;
      } else {
        model[key] = value();
      }
    }
    return model.value("type", Json()) == "BPE";
  }

  bool read_vocab() {
    if (!cursor_.at('{')) return false;
    const Where where{std::string(source_), "model.vocab", 0};
    Vocabulary pieces;
    pieces.reserve(text_.size() / 64, text_.size() / 8);
    cursor_.open_object("vocab");
    std::string piece;
    for (bool first = true; cursor_.next_key(first, piece); first = false) {
      if (!cursor_.at_natural()) return false;
      const std::uint64_t id = cursor_.natural("an id");
      if (id > INT32_MAX) return false;
      pieces.add(piece, static_cast<TokenId>(id), where);
    }
    pieces.build(where);
    vocabulary = std::move(pieces);
    return true;
  }

  bool read_merges(const Json& model) {
    if (!cursor_.at('[')) return false;
    const Where where{std::string(source_), "model.merges", 0};
    const Json prefix = model.value("continuing_subword_prefix", Json());
    if (!prefix.is_null() && !prefix.is_string()) return false;
    MergeReader reader(*vocabulary, prefix.is_null() ? 0 : prefix.get<std::string>().size(), where);
    cursor_.open_array("merges");
    for (bool first = true; cursor_.next_element(first); first = false) {
      if (cursor_.at('"')) {
        reader.add_line(cursor_.string("a merge", kStringBytes));
      } else if (!read_pair(reader)) {
        return false;
      }
    }
    merges = reader.take();
    return true;
  }

  bool read_pair(MergeReader& reader) {
    if (!cursor_.at('[')) return false;
    cursor_.open_array("a merge");
    if (!cursor_.next_element(true) || !cursor_.at('"')) return false;
    const std::string left = cursor_.string("a merge", kStringBytes);
    if (!cursor_.next_element(false) || !cursor_.at('"')) return false;
    reader.add(left, cursor_.string("a merge", kStringBytes));
    return !cursor_.next_element(false);
  }

  std::string_view text_;
  std::string_view source_;
  JsonCursor cursor_;
};

}  // namespace

std::shared_ptr<Tokenizer::Impl> make_tokenizer(std::string_view text, std::string_view source,
                                                const DeclaredTokens& declared) {
  BpeText reader(text, source);
  if (!reader.read()) return make_tokenizer(parse_json(text, source), source, declared);
  const Where where{std::string(source), "", 0};
  check_version(reader.description, where);
  const Json& model = reader.description.at("model");
  PreTokenizers pre = make_pre_tokenizers(reader.description, "BPE", where);
  BpeOptions options = read_bpe_options(model, where.key("model"), pre.raw_bytes());
  auto bpe = std::make_unique<Bpe>(std::move(*reader.vocabulary), std::move(*reader.merges),
                                   std::move(options));
  return std::make_shared<Tokenizer::Impl>(
      described_parts(reader.description, where, std::move(pre), std::move(bpe), declared), where);
}

}  // namespace lancet
