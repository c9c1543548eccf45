// Reading BPE from tokenizer.json.

#include <fmt/format.h>

#include "core/text.h"
#include "formats/tokenizer/bpe.h"
#include "formats/tokenizer/model_json.h"

namespace lancet {
namespace {

constexpr std::size_t kMergeLimit = 16U << 20U;

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

void MergeReader::add(std::string_view left, std::string_view right) {
  if (merges_.size() >= kMergeLimit)
    where_.fail_input(fmt::format("more than {} merges", kMergeLimit));
  const TokenId left_id = resolve(left, left, right);
  const TokenId right_id = resolve(right, left, right);
  if (right.size() < prefix_bytes_) {
    where_.fail_input(
        fmt::format("merge '{} {}': the right part is shorter than continuing_subword_prefix",
                    printable(left, 60), printable(right, 60)));
  }
  joined_.assign(left);
  joined_ += right.substr(prefix_bytes_);
  merges_.push_back({left_id, right_id, resolve(joined_, left, right)});
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

TokenId MergeReader::resolve(std::string_view piece, std::string_view left,
                             std::string_view right) const {
  if (const auto id = vocabulary_.find(piece)) return *id;
  where_.fail_input(fmt::format("merge '{} {}': '{}' is not in the vocabulary", printable(left, 60),
                                printable(right, 60), printable(piece, 60)));
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
