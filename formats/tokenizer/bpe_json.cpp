// Reading BPE from tokenizer.json.

#include <algorithm>
#include <array>

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/model_json.h"

namespace lancet {
namespace {

constexpr std::size_t kMergeLimit = 16U << 20U;
constexpr std::size_t kPartsLimit = 1U << 20U;  // bytes; a piece has fewer

std::vector<Merge> read_merges(const Json& model, const Vocabulary& vocabulary,
                               std::size_t prefix_bytes, const Where& where) {
  const Where here = where.key("merges");
  MergeReader reader(vocabulary, prefix_bytes, here);
  for (const Json& merge : where.array(model, "merges")) {
    if (merge.is_string()) {
      reader.add_line(merge.get_ref<const std::string&>());
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      reader.add(merge[0].get_ref<const std::string&>(), merge[1].get_ref<const std::string&>());
    } else {
      here.fail_input(fmt::format("expected \"a b\" or [\"a\", \"b\"], found {}",
                                  printable(dump_json(merge), 80)));
    }
  }
  return reader.take();
}

}  // namespace

MergeReader::MergeReader(const Vocabulary& vocabulary, std::size_t prefix_bytes, const Where& where)
    : vocabulary_(vocabulary),
      prefix_bytes_(prefix_bytes),
      where_(where),
      most_(std::min(kMergeLimit, vocabulary.bytes() + vocabulary.size())) {}

void MergeReader::add(std::string_view left, std::string_view right) {
  if (merges_.size() + waiting_.size() >= most_)
    where_.fail_input(
        fmt::format("more than {} merges, which is more than the pieces allow", most_));
  if (right.size() < prefix_bytes_) {
    where_.fail_input(
        fmt::format("merge '{} {}': the right part is shorter than continuing_subword_prefix",
                    printable(left, 60), printable(right, 60)));
  }
  if (left.size() + right.size() > kPartsLimit)
    where_.fail_input(fmt::format("merge '{} ...' is longer than any piece", printable(left, 60)));
  waiting_.push_back(
      {static_cast<std::uint32_t>(left.size()), static_cast<std::uint32_t>(right.size())});
  waiting_text_ += left;
  waiting_text_ += right;
  if (prefix_bytes_ > 0) {
    waiting_text_ += left;
    waiting_text_ += right.substr(prefix_bytes_);
  }
  if (waiting_.size() == kAtOnce) resolve_waiting();
}

void MergeReader::resolve_waiting() {
  std::array<std::string_view, 3 * kAtOnce> pieces;  // left, right and result of each
  std::array<TokenId, 3 * kAtOnce> ids;
  const char* at = waiting_text_.data();
  for (std::size_t i = 0; i < waiting_.size(); ++i) {
    const auto [left, right] = waiting_[i];
    pieces[3 * i] = {at, left};
    pieces[3 * i + 1] = {at + left, right};
    if (prefix_bytes_ > 0) at += left + right;
    pieces[3 * i + 2] = {at, left + right - prefix_bytes_};
    at += left + right - prefix_bytes_;
  }
  const std::size_t count = 3 * waiting_.size();
  vocabulary_.find_all(std::span(pieces).first(count), std::span(ids).first(count));
  for (std::size_t i = 0; i < count; ++i) {
    if (ids[i] >= 0) continue;
    const std::size_t merge = i - i % 3;
    where_.fail_input(fmt::format("merge '{} {}': '{}' is not in the vocabulary",
                                  printable(pieces[merge], 60), printable(pieces[merge + 1], 60),
                                  printable(pieces[i], 60)));
  }
  for (std::size_t i = 0; i < count; i += 3) merges_.push_back({ids[i], ids[i + 1], ids[i + 2]});
  waiting_.clear();
  waiting_text_.clear();
}

std::vector<Merge> MergeReader::take() {
  resolve_waiting();
  return std::move(merges_);
}

void MergeReader::add_line(std::string_view line) {
  if (line.starts_with("#version")) return;
  const std::size_t space = line.find(' ');
  if (space == line.npos || line.find(' ', space + 1) != line.npos) {
    where_.fail_input(fmt::format("expected two pieces with one space between them, found '{}'",
                                  printable(line, 80)));
  }
  add(line.substr(0, space), line.substr(space + 1));
}

BpeOptions read_bpe_options(const Json& model, const Where& where, bool raw_bytes) {
  BpeOptions options;
  options.unk_token = where.string(model, "unk_token", "");
  options.continuing_subword_prefix = where.string(model, "continuing_subword_prefix", "");
  options.end_of_word_suffix = where.string(model, "end_of_word_suffix", "");
  options.fuse_unk = where.boolean(model, "fuse_unk", false);
  options.byte_fallback = where.boolean(model, "byte_fallback", false);
  options.ignore_merges = where.boolean(model, "ignore_merges", false);
  options.raw_bytes = raw_bytes;
  const auto dropout = model.find("dropout");
  if (dropout != model.end() && !dropout->is_null() && *dropout != 0.0) {
    where.fail_unsupported("BPE option", "dropout");
  }
  return options;
}

std::unique_ptr<Bpe> Bpe::from_json(const Json& model, const Where& where, bool raw_bytes) {
  BpeOptions options = read_bpe_options(model, where, raw_bytes);
  Vocabulary vocabulary = read_vocabulary(model, where);
  std::vector<Merge> merges =
      read_merges(model, vocabulary, options.continuing_subword_prefix.size(), where);
  return std::make_unique<Bpe>(std::move(vocabulary), std::move(merges), std::move(options));
}

}  // namespace lancet
