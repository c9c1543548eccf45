#include "formats/tokenizer/decoder.h"

#include <algorithm>
#include <optional>
#include <string_view>
#include <utility>

#include "core/text.h"
#include "formats/tokenizer/byte_alphabet.h"
#include "formats/tokenizer/pattern.h"

namespace lancet {
namespace {

constexpr std::uint64_t kGrowthLimit = 4096;  // times, by all Replace steps together

std::string replace_all(std::string_view text, const Pattern& pattern, std::string_view content) {
  std::string out;
  pattern.split(text, [&](std::size_t begin, std::size_t end, bool match) {
    out += match ? content : text.substr(begin, end - begin);
  });
  return out;
}

std::string replace_all(std::string_view text, std::string_view from, std::string_view to) {
  return replace_all(text, *literal_pattern(std::string(from)), to);
}

class ByteLevelDecoder : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& pieces) const override {
    std::string bytes;
    for (const std::string& piece : pieces) append_piece_bytes(piece, bytes);
    pieces.assign(1, utf8_lossy(bytes));
  }
};

/// A run of byte tokens becomes text where all of it is valid UTF-8, else one U+FFFD per byte.
class ByteFallback : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& pieces) const override {
    std::vector<std::string> out;
    std::string run;
    const auto flush = [&] {
      if (run.empty()) return;
      if (find_invalid_utf8(run)) {
        out.insert(out.end(), run.size(), "\xEF\xBF\xBD");
      } else {
        out.push_back(run);
      }
      run.clear();
    };
    for (std::string& piece : pieces) {
      if (const auto byte = byte_token(piece)) {
        run += *byte;
      } else {
        flush();
        out.push_back(std::move(piece));
      }
    }
    flush();
    pieces = std::move(out);
  }
};

class Fuse : public TokenDecoder {
 public:
  void apply(std::vector<std::string>& pieces) const override {
    std::string all;
    for (const std::string& piece : pieces) all += piece;
    pieces.clear();
    pieces.push_back(std::move(all));
  }
};

/// Removes up to `start` and `stop` copies of a character from the ends of each piece.
class StripDecoder : public PiecewiseDecoder {
 public:
  StripDecoder(std::string content, std::size_t start, std::size_t stop)
      : content_(std::move(content)), start_(start), stop_(stop) {}
  void change(std::string& piece, bool) const override {
    std::size_t begin = 0;
    for (std::size_t i = 0;
         i < start_ && std::string_view(piece).substr(begin).starts_with(content_); ++i) {
      begin += content_.size();
    }
    std::size_t end = piece.size();
    for (std::size_t i = 0; i < stop_ && end - begin >= content_.size() &&
                            std::string_view(piece).substr(0, end).ends_with(content_);
         ++i) {
      end -= content_.size();
    }
    piece = piece.substr(begin, end - begin);
  }

 private:
  std::string content_;
  std::size_t start_;
  std::size_t stop_;
};

class ReplaceDecoder : public PiecewiseDecoder {
 public:
  ReplaceDecoder(std::unique_ptr<Pattern> pattern, std::string content)
      : pattern_(std::move(pattern)), content_(std::move(content)) {}
  void change(std::string& piece, bool) const override {
    piece = replace_all(piece, *pattern_, content_);
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  std::string content_;
};

/// The replacement becomes a blank; in the first piece it goes unless the scheme is "never".
class MetaspaceDecoder : public PiecewiseDecoder {
 public:
  MetaspaceDecoder(std::string_view replacement, bool drops_first)
      : pattern_(literal_pattern(std::string(replacement))), drops_first_(drops_first) {}
  void change(std::string& piece, bool first) const override {
    piece = replace_all(piece, *pattern_, first && drops_first_ ? "" : " ");
  }

 private:
  std::unique_ptr<Pattern> pattern_;
  bool drops_first_;
};

/// The end-of-word suffix becomes a blank, in the last piece nothing.
class BpeDecoder : public TokenDecoder {
 public:
  explicit BpeDecoder(std::string suffix) : pattern_(literal_pattern(std::move(suffix))) {}
  void apply(std::vector<std::string>& pieces) const override {
    for (std::size_t i = 0; i < pieces.size(); ++i) {
      pieces[i] = replace_all(pieces[i], *pattern_, i + 1 == pieces.size() ? "" : " ");
    }
  }

 private:
  std::unique_ptr<Pattern> pattern_;
};

/// Blanks that the tokens of English text have before punctuation and contractions go.
std::string clean_up(std::string text) {
  static constexpr std::pair<std::string_view, std::string_view> kRules[] = {
      {" .", "."},   {" ?", "?"},     {" !", "!"},    {" ,", ","},
      {" ' ", "'"},  {" n't", "n't"}, {" 'm", "'m"},  {" do not", " don't"},
      {" 's", "'s"}, {" 've", "'ve"}, {" 're", "'re"}};
  for (const auto& [from, to] : kRules) text = replace_all(text, from, to);
  return text;
}

/// Pieces that continue a word lose the prefix, the others get a blank in front.
class WordPieceDecoder : public PiecewiseDecoder {
 public:
  WordPieceDecoder(std::string prefix, bool cleanup)
      : prefix_(std::move(prefix)), cleanup_(cleanup) {}
  void change(std::string& piece, bool first) const override {
    if (!first && piece.starts_with(prefix_)) {
      piece.erase(0, prefix_.size());
    } else if (!first) {
      piece.insert(0, 1, ' ');
    }
    if (cleanup_) piece = clean_up(std::move(piece));
  }

 private:
  std::string prefix_;
  bool cleanup_;
};

/// Connectionist temporal classification: a repeated piece counts once, padding goes.
class CtcDecoder : public TokenDecoder {
 public:
  CtcDecoder(std::string pad, std::string delimiter, bool cleanup)
      : pad_(std::move(pad)), delimiter_(std::move(delimiter)), cleanup_(cleanup) {}
  void apply(std::vector<std::string>& pieces) const override {
    pieces.erase(std::unique(pieces.begin(), pieces.end()), pieces.end());
    for (std::string& piece : pieces) {
      piece = replace_all(piece, pad_, "");
      if (cleanup_) piece = replace_all(clean_up(std::move(piece)), delimiter_, " ");
    }
    std::erase(pieces, "");
  }

 private:
  std::string pad_;
  std::string delimiter_;
  bool cleanup_;
};

std::unique_ptr<TokenDecoder> make_strip(const Json& description, const Where& where) {
  std::string content = where.string(description, "content");
  std::size_t end = 0;
  if (!content.empty()) static_cast<void>(next_code_point(content, end));
  if (content.empty() || end != content.size())
    where.key("content").fail_input("expected one character");
  const auto count = [&](std::string_view key) {
    return static_cast<std::size_t>(where.integer(description, key, 0, INT32_MAX));
  };
  return std::make_unique<StripDecoder>(std::move(content), count("start"), count("stop"));
}

std::unique_ptr<TokenDecoder> make_metaspace(const Json& description, const Where& where) {
  const bool never = (description.contains("prepend_scheme") &&
                      where.string(description, "prepend_scheme") == "never") ||
                     !where.boolean(description, "add_prefix_space", true);
  return std::make_unique<MetaspaceDecoder>(where.string(description, "replacement"), !never);
}

/// How many times longer a Replace may make a text.
std::uint64_t growth_of(const Json& description, const Where& where) {
  const Json& pattern = where.member(description, "pattern");
  const bool literal = pattern.is_object() && pattern.contains("String");
  const std::size_t from = literal ? where.string(pattern, "String").size() : 1;
  const std::size_t to = where.string(description, "content").size();
  return std::max<std::uint64_t>(1, (to + from - 1) / std::max<std::size_t>(from, 1));
}

std::unique_ptr<TokenDecoder> make_step(const std::string& type, const Json& description,
                                        const Where& where) {
  if (type == "ByteLevel") return std::make_unique<ByteLevelDecoder>();
  if (type == "ByteFallback") return std::make_unique<ByteFallback>();
  if (type == "Fuse") return std::make_unique<Fuse>();
  if (type == "Strip") return make_strip(description, where);
  if (type == "Metaspace") return make_metaspace(description, where);
  if (type == "BPEDecoder")
    return std::make_unique<BpeDecoder>(where.string(description, "suffix"));
  if (type == "WordPiece") {
    return std::make_unique<WordPieceDecoder>(where.string(description, "prefix", "##"),
                                              where.boolean(description, "cleanup", true));
  }
  if (type == "CTC") {
    return std::make_unique<CtcDecoder>(where.string(description, "pad_token", "<pad>"),
                                        where.string(description, "word_delimiter_token", "|"),
                                        where.boolean(description, "cleanup", true));
  }
  if (type == "Replace") {
    return std::make_unique<ReplaceDecoder>(
        make_pattern(where.member(description, "pattern"), where.key("pattern")),
        where.string(description, "content"));
  }
  where.fail_unsupported("decoder", type);
}

void add_steps(const Json& description, const Where& where,
               std::vector<std::unique_ptr<TokenDecoder>>& out, bool& byte_level,
               std::uint64_t& growth) {
  if (description.is_null()) return;
  const std::string type = where.string(description, "type");
  if (type == "Replace") {
    growth *= growth_of(description, where);
    if (growth > kGrowthLimit) where.key("content").fail_input("the decoders make a text explode");
  }
  if (type != "Sequence") {
    byte_level = type == "ByteLevel" && out.empty();
    out.push_back(make_step(type, description, where));
    return;
  }
  const Json::array_t& list = where.array(description, "decoders");
  for (std::size_t i = 0; i < list.size(); ++i)
    add_steps(list[i], where.component("decoders", i), out, byte_level, growth);
}

}  // namespace

std::optional<char> byte_token(std::string_view piece) {
  if (piece.size() != 6 || !piece.starts_with("<0x") || piece[5] != '>') return std::nullopt;
  const auto digit = [](char c) -> int {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
  };
  const int high = digit(piece[3]);
  const int low = digit(piece[4]);
  if (high < 0 || low < 0) return std::nullopt;
  return static_cast<char>(high * 16 + low);
}

void append_piece_bytes(std::string_view piece, std::string& bytes) {
  if (!append_spelled_bytes(piece, bytes)) bytes += piece;
}

Decoders::Decoders(const Json& description, const Where& where)
    : joins_with_blanks_(description.is_null()) {
  std::uint64_t growth = 1;
  add_steps(description, where, steps_, byte_level_, growth);
  find_shape();
}

void Decoders::find_shape() {
  const auto is = [&](std::size_t step, auto* kind) {
    using Kind = std::remove_pointer_t<decltype(kind)>;
    return step < steps_.size() && dynamic_cast<const Kind*>(steps_[step].get()) != nullptr;
  };
  for (const auto& step : steps_) {
    const auto* piecewise = dynamic_cast<const PiecewiseDecoder*>(step.get());
    if (piecewise == nullptr) break;
    piecewise_.push_back(piecewise);
  }
  byte_fallback_ = is(piecewise_.size(), static_cast<ByteFallback*>(nullptr));
  whole_ = piecewise_.size() + (byte_fallback_ ? 1 : 0);
  const bool fused = is(whole_, static_cast<Fuse*>(nullptr));
  if (fused) ++whole_;
  simple_ = !joins_with_blanks_ && (fused || whole_ == steps_.size());
}

std::string Decoders::fragment(std::string_view piece, bool first) const {
  std::string out(piece);
  for (const PiecewiseDecoder* step : piecewise_) step->change(out, first);
  return out;
}

std::string Decoders::finish(std::string text) const {
  if (whole_ == steps_.size()) return text;
  std::vector<std::string> pieces;
  pieces.push_back(std::move(text));
  for (std::size_t i = whole_; i < steps_.size(); ++i) steps_[i]->apply(pieces);
  std::string out;
  for (const std::string& piece : pieces) out += piece;
  return out;
}

std::string Decoders::decode(std::vector<std::string> pieces) const {
  for (const auto& step : steps_) step->apply(pieces);
  std::string out;
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    if (joins_with_blanks_ && i > 0) out += ' ';
    out += pieces[i];
  }
  return out;
}

}  // namespace lancet
