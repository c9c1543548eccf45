#include "formats/tokenizer/fragment_table.h"

#include <utility>

#include "core/text.h"

namespace lancet {
namespace {

/// A run of byte tokens is text where all of it is UTF-8, else one U+FFFD for each byte.
void flush_bytes(std::string& run, std::string& out) {
  if (run.empty()) return;
  if (!find_invalid_utf8(run)) {
    out += run;
  } else {
    for (std::size_t i = 0; i < run.size(); ++i) out += "\xEF\xBF\xBD";
  }
  run.clear();
}

}  // namespace

FragmentTable::FragmentTable(const Decoders& decoders, std::size_t ids,
                             FunctionRef<std::optional<std::string_view>(TokenId)> piece,
                             FunctionRef<bool(TokenId)> special) {
  entries_.resize(ids);
  for (std::size_t i = 0; i < ids; ++i) {
    const auto id = static_cast<TokenId>(i);
    const auto text = piece(id);
    if (!text) continue;
    Entry& entry = entries_[i];
    entry.special = special(id);
    entry.kind = Kind::kText;
    const std::string fragment = decoders.fragment(*text, false);
    const auto byte = decoders.has_byte_fallback() ? byte_token(fragment) : std::nullopt;
    if (byte) {
      entry.kind = Kind::kByte;
      entry.byte = *byte;
      continue;
    }
    entry.begin = static_cast<std::uint32_t>(text_.size());
    text_ += fragment;
    entry.end = static_cast<std::uint32_t>(text_.size());
  }
}

std::string FragmentTable::decode(
    const Decoders& decoders, std::span<const TokenId> ids, bool skip_special,
    FunctionRef<std::optional<std::string_view>(TokenId)> piece) const {
  std::string out;
  std::string run;
  out.reserve(ids.size() * 4);
  bool first = true;
  for (const TokenId id : ids) {
    if (id < 0 || static_cast<std::size_t>(id) >= entries_.size()) continue;
    const Entry& entry = entries_[static_cast<std::size_t>(id)];
    if (entry.kind == Kind::kMissing || (skip_special && entry.special)) continue;
    if (entry.kind == Kind::kByte) {
      run += entry.byte;
    } else {
      if (!run.empty()) flush_bytes(run, out);
      if (first) {
        out += decoders.fragment(*piece(id), true);
      } else {
        out.append(text_, entry.begin, entry.end - entry.begin);
      }
    }
    first = false;
  }
  flush_bytes(run, out);
  return decoders.finish(std::move(out));
}

}  // namespace lancet
