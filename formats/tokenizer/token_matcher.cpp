#include "formats/tokenizer/token_matcher.h"

#include <algorithm>

namespace lancet {

TokenMatcher::TokenMatcher(const std::vector<std::string>& literals) {
  lengths_.reserve(literals.size());
  for (std::uint32_t i = 0; i < literals.size(); ++i) {
    lengths_.push_back(static_cast<std::uint32_t>(literals[i].size()));
    insert(literals[i], i);
  }
  link();
}

void TokenMatcher::insert(std::string_view literal, std::uint32_t index) {
  if (literal.empty()) return;
  std::uint32_t node = 0;
  for (auto at = literal.rbegin(); at != literal.rend(); ++at) {
    const auto byte = static_cast<std::uint8_t>(*at);
    std::uint32_t next = child_of(node, byte);
    if (next == 0) {
      next = static_cast<std::uint32_t>(nodes_.size());
      Node fresh;
      fresh.byte = byte;
      fresh.sibling = nodes_[node].child;
      nodes_.push_back(fresh);
      nodes_[node].child = next;
      if (node == 0) root_[byte] = next;
    }
    node = next;
  }
  if (nodes_[node].literal == kNone) nodes_[node].literal = index;
}

void TokenMatcher::link() {
  std::vector<std::uint32_t> queue;
  queue.reserve(nodes_.size());
  queue.push_back(0);
  for (std::size_t i = 0; i < queue.size(); ++i) {
    const std::uint32_t parent = queue[i];
    for (std::uint32_t node = nodes_[parent].child; node != 0; node = nodes_[node].sibling) {
      nodes_[node].fail = parent == 0 ? 0 : step(nodes_[parent].fail, nodes_[node].byte);
      if (nodes_[node].literal == kNone) nodes_[node].literal = nodes_[nodes_[node].fail].literal;
      queue.push_back(node);
    }
  }
}

std::uint32_t TokenMatcher::child_of(std::uint32_t node, std::uint8_t byte) const noexcept {
  if (node == 0) return root_[byte];
  std::uint32_t child = nodes_[node].child;
  while (child != 0 && nodes_[child].byte != byte) child = nodes_[child].sibling;
  return child;
}

std::uint32_t TokenMatcher::step(std::uint32_t node, std::uint8_t byte) const noexcept {
  while (true) {
    const std::uint32_t child = child_of(node, byte);
    if (child != 0 || node == 0) return child;
    node = nodes_[node].fail;
  }
}

std::vector<TokenMatcher::Match> TokenMatcher::find(std::string_view text) const {
  std::vector<Match>
      begins;  // the longest literal at each position that begins one, from the right
  if (empty()) return begins;
  std::uint32_t node = 0;
  for (std::size_t at = text.size(); at-- > 0;) {
    const auto byte = static_cast<std::uint8_t>(text[at]);
    node = node == 0 ? root_[byte] : step(node, byte);
    const std::uint32_t literal = nodes_[node].literal;
    if (literal != kNone) begins.push_back({at, at + lengths_[literal], literal});
  }
  std::vector<Match> out;
  std::size_t free_from = 0;
  for (auto match = begins.rbegin(); match != begins.rend(); ++match) {
    if (match->begin < free_from) continue;
    out.push_back(*match);
    free_from = match->end;
  }
  return out;
}

}  // namespace lancet
