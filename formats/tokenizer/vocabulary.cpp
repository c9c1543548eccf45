#include "formats/tokenizer/vocabulary.h"

#include <algorithm>
#include <array>
#include <bit>
#include <limits>

#include <fmt/format.h>

#include "core/bytes.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::size_t kPieceLimit = 4U << 20U;
constexpr std::size_t kPieceBytesLimit = 64U << 10U;

std::uint64_t mix(std::uint64_t a, std::uint64_t b) noexcept {
  __extension__ using Wide = unsigned __int128;
  const Wide product = static_cast<Wide>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64U);
}

}  // namespace

std::uint64_t hash_bytes(std::string_view bytes) noexcept {
  constexpr std::uint64_t kA = 0x9E3779B97F4A7C15;
  constexpr std::uint64_t kB = 0xD1B54A32D192ED03;
  std::uint64_t state = bytes.size() * kA;
  const char* at = bytes.data();
  std::size_t left = bytes.size();
  for (; left > 8; at += 8, left -= 8) state = mix(state ^ load_le<std::uint64_t>(at), kB);
  std::uint64_t tail = 0;
  if (left > 0) std::memcpy(&tail, at, left);
  return mix(state ^ tail, kA);
}

void Vocabulary::reserve(std::size_t pieces, std::size_t bytes) {
  entries_.reserve(pieces);
  text_.reserve(bytes);
}

void Vocabulary::add(std::string_view piece, TokenId id, const Where& where) {
  if (id < 0)
    where.fail_input(fmt::format("the id {} of '{}' is negative", id, printable(piece, 60)));
  if (piece.size() > kPieceBytesLimit) {
    where.fail_input(fmt::format("'{}' has {} bytes, expected at most {}", printable(piece, 60),
                                 piece.size(), kPieceBytesLimit));
  }
  if (entries_.size() >= kPieceLimit || text_.size() + piece.size() > UINT32_MAX) {
    where.fail_input(fmt::format("more than {} pieces", kPieceLimit));
  }
  entries_.push_back(
      {static_cast<std::uint32_t>(text_.size()), static_cast<std::uint32_t>(piece.size()), id});
  text_ += piece;
}

void Vocabulary::build(const Where& where) {
  const auto by_id = [](const Entry& a, const Entry& b) { return a.id < b.id; };
  if (!std::is_sorted(entries_.begin(), entries_.end(), by_id)) {
    std::sort(entries_.begin(), entries_.end(), by_id);
  }
  const auto twice =
      std::adjacent_find(entries_.begin(), entries_.end(),
                         [](const Entry& a, const Entry& b) { return a.id == b.id; });
  if (twice != entries_.end()) {
    where.fail_input(fmt::format("'{}' and '{}' have the same id {}",
                                 printable(text_of(twice[0]), 60), printable(text_of(twice[1]), 60),
                                 twice->id));
  }
  max_id_ = entries_.empty() ? -1 : entries_.back().id;
  const auto span = static_cast<std::size_t>(max_id_) + 1;
  if (span <= 2 * entries_.size() + 65536) {
    dense_.assign(span, 0);
    for (std::size_t i = 0; i < entries_.size(); ++i) {
      dense_[static_cast<std::size_t>(entries_[i].id)] = static_cast<std::uint32_t>(i + 1);
    }
  }
  build_hash(where);
}

void Vocabulary::build_hash(const Where& where) {
  constexpr std::size_t kAhead = 16;  // slots on their way from memory
  slots_.assign(std::bit_ceil(entries_.size() * 2 + 1), Slot{0, 0});
  const std::size_t mask = slots_.size() - 1;
  std::vector<std::uint64_t> hashes(entries_.size());
  for (std::size_t i = 0; i < entries_.size(); ++i) hashes[i] = hash_bytes(text_of(entries_[i]));
  for (std::size_t i = 0; i < entries_.size(); ++i) {
    if (i + kAhead < hashes.size()) __builtin_prefetch(&slots_[hashes[i + kAhead] & mask], 1);
    const auto tag = static_cast<std::uint32_t>(hashes[i] >> 32U);
    std::size_t at = hashes[i] & mask;
    for (; slots_[at].entry != 0; at = (at + 1) & mask) {
      if (slots_[at].hash != tag) continue;
      const Entry& other = entries_[slots_[at].entry - 1];
      if (text_of(other) == text_of(entries_[i])) {
        where.fail_input(fmt::format("'{}' occurs twice, with the ids {} and {}",
                                     printable(text_of(other), 60), other.id, entries_[i].id));
      }
    }
    slots_[at] = {tag, static_cast<std::uint32_t>(i + 1)};
  }
}

TokenId Vocabulary::find_hashed(std::string_view piece, std::uint64_t hash) const noexcept {
  const std::size_t mask = slots_.size() - 1;
  const auto tag = static_cast<std::uint32_t>(hash >> 32U);
  for (std::size_t at = hash & mask; slots_[at].entry != 0; at = (at + 1) & mask) {
    if (slots_[at].hash != tag) continue;
    const Entry& entry = entries_[slots_[at].entry - 1];
    if (text_of(entry) == piece) return entry.id;
  }
  return -1;
}

std::optional<TokenId> Vocabulary::find(std::string_view piece) const noexcept {
  if (slots_.empty()) return std::nullopt;
  const TokenId id = find_hashed(piece, hash_bytes(piece));
  return id < 0 ? std::nullopt : std::optional(id);
}

void Vocabulary::find_all(std::span<const std::string_view> pieces,
                          std::span<TokenId> ids) const noexcept {
  if (slots_.empty()) return std::fill(ids.begin(), ids.end(), -1);
  constexpr std::size_t kAtOnce = 32;
  std::array<std::uint64_t, kAtOnce> hashes;
  const std::size_t mask = slots_.size() - 1;
  for (std::size_t first = 0; first < pieces.size(); first += kAtOnce) {
    const std::size_t count = std::min(kAtOnce, pieces.size() - first);
    const auto entry_at = [&](std::size_t i) { return slots_[hashes[i] & mask].entry; };
    for (std::size_t i = 0; i < count; ++i) {
      hashes[i] = hash_bytes(pieces[first + i]);
      __builtin_prefetch(&slots_[hashes[i] & mask]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (const auto entry = entry_at(i); entry != 0) __builtin_prefetch(&entries_[entry - 1]);
    }
    for (std::size_t i = 0; i < count; ++i) {
      if (const auto entry = entry_at(i); entry != 0)
        __builtin_prefetch(text_.data() + entries_[entry - 1].begin);
    }
    for (std::size_t i = 0; i < count; ++i)
      ids[first + i] = find_hashed(pieces[first + i], hashes[i]);
  }
}

const Vocabulary::Entry* Vocabulary::entry_of(TokenId id) const noexcept {
  if (id < 0 || id > max_id_) return nullptr;
  if (!dense_.empty()) {
    const std::uint32_t entry = dense_[static_cast<std::size_t>(id)];
    return entry == 0 ? nullptr : &entries_[entry - 1];
  }
  const auto found =
      std::lower_bound(entries_.begin(), entries_.end(), id,
                       [](const Entry& entry, TokenId wanted) { return entry.id < wanted; });
  return found != entries_.end() && found->id == id ? &*found : nullptr;
}

std::optional<std::string_view> Vocabulary::piece(TokenId id) const noexcept {
  const Entry* entry = entry_of(id);
  if (entry == nullptr) return std::nullopt;
  return text_of(*entry);
}

std::vector<TokenId> Vocabulary::ids() const {
  std::vector<TokenId> out;
  out.reserve(entries_.size());
  for (const Entry& entry : entries_) out.push_back(entry.id);
  return out;
}

ByteTokens find_byte_tokens(const Vocabulary& vocabulary) {
  ByteTokens out{};
  for (unsigned byte = 0; byte < 256; ++byte)
    out[byte] = vocabulary.find(fmt::format("<0x{:02X}>", byte)).value_or(-1);
  return out;
}

}  // namespace lancet
