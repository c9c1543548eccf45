#include <string_view>

#include "core/text.h"
#include "formats/tokenizer/tokenizer.h"
#include "formats/tokenizer/tokenizer_impl.h"

namespace lancet {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";

/// Bytes at the end of `bytes` that may be the beginning of a longer UTF-8 sequence (0 to 3).
std::size_t incomplete_tail(std::string_view bytes) {
  for (std::size_t length = 1; length <= 3 && length <= bytes.size(); ++length) {
    const auto lead = static_cast<std::uint8_t>(bytes[bytes.size() - length]);
    if (lead < 0x80) return 0;
    if (lead < 0xC0) continue;
    const std::size_t wanted = lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : 4;
    if (wanted <= length) return 0;
    // A broken beginning is one maximal invalid part more than a single U+FFFD.
    return utf8_lossy(bytes.substr(bytes.size() - length)) == kReplacement ? length : 0;
  }
  return 0;
}

}  // namespace

StreamDecoder::StreamDecoder(const Tokenizer& tokenizer, bool skip_special)
    : tokenizer_(tokenizer), skip_special_(skip_special) {}

std::string StreamDecoder::push(TokenId id) {
  const Tokenizer::Impl& parts = *tokenizer_.impl_;
  if (parts.decoders.is_byte_level()) {
    parts.append_bytes(id, skip_special_, bytes_);
    const std::size_t certain = bytes_.size() - incomplete_tail(bytes_);
    std::string out = utf8_lossy(std::string_view(bytes_).substr(0, certain));
    bytes_.erase(0, certain);
    return out;
  }
  if (!parts.piece(id) || (skip_special_ && parts.is_special(id))) return {};
  pending_.push_back(id);
  std::string text = tokenizer_.decode(pending_, skip_special_);
  // A byte token may still change what the bytes before it mean; its text is certain when another
  // follows.
  const bool open = text.ends_with(kReplacement) || parts.piece(id)->starts_with("<0x");
  if (open || text.size() < emitted_) return {};
  std::string out = text.substr(emitted_);
  // This token stays as context: the first token of a text is decoded differently from the others.
  pending_.assign(1, id);
  const std::string alone = tokenizer_.decode(pending_, skip_special_);
  emitted_ = alone.size();
  return out;
}

std::string StreamDecoder::finish() {
  std::string out;
  if (tokenizer_.impl_->decoders.is_byte_level()) {
    out = utf8_lossy(bytes_);
  } else if (!pending_.empty()) {
    out = tokenizer_.decode(pending_, skip_special_).substr(emitted_);
  }
  pending_.clear();
  bytes_.clear();
  emitted_ = 0;
  return out;
}

}  // namespace lancet
