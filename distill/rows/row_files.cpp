#include "distill/rows/row_files.h"

#include <cstring>

namespace lancet {
namespace {

std::string_view text_of(const MappedFile& file) {
  return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

/// Start of the first line that begins at or after `at`; of the file's first one behind a byte
/// order mark.
std::size_t line_start(std::string_view text, std::size_t at) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  if (at == 0) return text.starts_with(kMark) ? kMark.size() : 0;
  const std::size_t newline = text.find('\n', at - 1);
  return newline == std::string_view::npos ? text.size() : newline + 1;
}

}  // namespace

RowFiles::RowFiles(const std::vector<fs::path>& paths) {
  for (const fs::path& path : paths) {
    const auto source = static_cast<std::uint32_t>(files_.size());
    files_.emplace_back(path);
    const std::uint64_t size = files_.back().size();
    for (std::uint64_t at = 0; at < size; at += kBatchBytes)
      batches_.push_back({source, at, std::min(at + kBatchBytes, size)});
  }
}

std::uint64_t RowFiles::bytes() const noexcept {
  std::uint64_t total = 0;
  for (const MappedFile& file : files_) total += file.size();
  return total;
}

std::uint64_t RowFiles::for_each_line(
    std::size_t batch,
    const std::function<void(std::uint64_t number, std::string_view line)>& each) const {
  const Batch& range = batches_[batch];
  const std::string_view text = text_of(files_[range.source]);
  const std::size_t stop = range.end;
  std::uint64_t number = 0;
  for (std::size_t at = line_start(text, range.begin); at < stop;) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = text.substr(at, end - at);
    while (!line.empty() && std::strchr(" \t\r", line.back()) != nullptr) line.remove_suffix(1);
    ++number;
    if (!line.empty()) each(number, line);
    at = end + 1;
  }
  return number;
}

std::uint32_t RowFiles::source(std::size_t batch) const noexcept { return batches_[batch].source; }

std::uint64_t RowFiles::batch_bytes(std::size_t batch) const noexcept {
  return batches_[batch].end - batches_[batch].begin;
}

void RowFiles::release(std::size_t batch) const noexcept {
  files_[batches_[batch].source].release(batches_[batch].begin, batch_bytes(batch));
}

void RowFiles::check_unchanged() const {
  for (const MappedFile& file : files_) file.check_unchanged();
}

}  // namespace lancet
