#include "formats/containers/tensor_file.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <sstream>

#include <fmt/format.h>

#include "core/error.h"
#include "core/hash.h"
#include "core/interrupt.h"
#include "core/stream_file.h"
#include "core/temporary.h"
#include "core/text.h"

namespace lancet {
namespace {

constexpr std::uint64_t kMarkBytes = 1ULL << 20;   ///< between two marks, or more
constexpr std::uint64_t kReadBytes = 16ULL << 20;  ///< of what stands, at a time

std::uint64_t bytes_of(const OutputTensor& tensor) {
  std::uint64_t elements = 1;
  for (const std::int64_t dim : tensor.shape) elements *= static_cast<std::uint64_t>(dim);
  return dtype_bytes(tensor.dtype, elements).value();
}

/// Where each tensor ends, its padding included; the header's end before them.
std::vector<std::uint64_t> ends_of(const TensorFile& file) {
  std::vector<std::uint64_t> ends{file.header.size()};
  for (const OutputTensor& tensor : file.tensors)
    ends.push_back(checked_align(ends.back() + bytes_of(tensor), file.alignment).value());
  return ends;
}

/// The beginning of a file that need not be written again.
struct Standing {
  std::size_t tensors = 0;
  std::uint64_t bytes = 0;
  Sha256 hash;        ///< of these bytes
  std::string marks;  ///< lines about them
};

/// What the lines "TENSORS BYTES SHA256" of `marks` say that is true of `part`.
Standing find_standing(const fs::path& part, const fs::path& marks, const TensorFile& file) {
  Standing out;
  std::error_code error;
  if (!fs::is_regular_file(part, error) || !fs::is_regular_file(marks, error)) return out;
  const MappedFile bytes(part);
  const Bytes header = std::as_bytes(std::span(file.header));
  if (bytes.size() < header.size() ||
      !std::ranges::equal(bytes.bytes().first(header.size()), header))
    return out;
  const std::vector<std::uint64_t> ends = ends_of(file);
  std::ifstream lines(marks);
  Sha256 hash;
  std::uint64_t hashed = 0;
  for (std::string line; std::getline(lines, line);) {
    std::size_t tensors = 0;
    std::uint64_t end = 0;
    std::string digits;
    if (!(std::istringstream(line) >> tensors >> end >> digits) || tensors >= ends.size() ||
        end != ends[tensors] || end < hashed || end > bytes.size())
      break;
    for (; hashed < end; hashed += std::min(kReadBytes, end - hashed)) {
      check_interrupted();
      const std::uint64_t size = std::min(kReadBytes, end - hashed);
      hash.update(bytes.bytes().subspan(hashed, size));
      bytes.release(hashed, size);
    }
    // Marks may be ahead of what had gone to disk.
    if (hash.copy().hex() != digits) break;
    out.tensors = tensors;
    out.bytes = end;
    out.hash = hash.copy();
    out.marks += line + "\n";
  }
  return out;
}

/// Appends marks.
class Marks {
 public:
  Marks(fs::path path, const Standing& standing) : path_(std::move(path)), last_(standing.bytes) {
    write_file(path_, standing.marks);
    out_.open(path_, std::ios::app);
  }
  void add(std::size_t tensors, std::uint64_t bytes, const Sha256& hash) {
    if (bytes < last_ + kMarkBytes) return;
    last_ = bytes;
    out_ << fmt::format("{} {} {}\n", tensors, bytes, hash.copy().hex()) << std::flush;
    if (!out_) temporary::fail_write(path_, errno);
  }

 private:
  fs::path path_;
  std::ofstream out_;
  std::uint64_t last_;
};

/// What is missing behind `from`. Returns the SHA-256 of the whole.
template <typename File>
std::string fill(File& to, const TensorFile& file, Standing from, Marks* marks) {
  to.reserve(file.total);
  std::uint64_t written = from.bytes;
  const auto put = [&](Bytes bytes) {
    to.write(bytes);
    from.hash.update(bytes);
    written += bytes.size();
  };
  if (written == 0) put(std::as_bytes(std::span(file.header)));
  for (std::size_t t = from.tensors; t < file.tensors.size(); ++t) {
    const OutputTensor& tensor = file.tensors[t];
    const std::uint64_t begin = written, size = bytes_of(tensor);
    const auto check = [&](std::uint64_t given, bool good) {
      if (good) return;
      fail(ErrorKind::kInternal, "write",
           fmt::format("expected {} bytes of tensor '{}', was given {}", size,
                       printable(tensor.name), given));
    };
    tensor.write([&](Bytes bytes) {
      check(written - begin + bytes.size(), written - begin + bytes.size() <= size);
      put(bytes);
    });
    check(written - begin, written - begin == size);
    const std::string zeros(checked_align(written, file.alignment).value() - written, '\0');
    put(std::as_bytes(std::span(zeros)));
    if (marks != nullptr) marks->add(t + 1, written, from.hash);
  }
  to.commit();
  return from.hash.hex();
}

}  // namespace

std::string save_tensor_file(const fs::path& path, const TensorFile& file) {
  if (file.total < StreamFile::kWorthwhile) {
    AtomicFile to(path);
    return fill(to, file, {}, nullptr);
  }
  StreamFile to(path);
  return fill(to, file, {}, nullptr);
}

std::string resume_tensor_file(const fs::path& path, const TensorFile& file,
                               std::uint64_t& resumed) {
  resumed = 0;
  if (file.total < StreamFile::kWorthwhile) return save_tensor_file(path, file);
  const fs::path part = path.string() + ".part", list = path.string() + ".marks";
  Standing standing = find_standing(part, list, file);
  resumed = standing.bytes;
  Marks marks(list, standing);
  StreamFile to(path, part, standing.bytes);
  std::string hash = fill(to, file, std::move(standing), &marks);
  fs::remove(list);
  return hash;
}

}  // namespace lancet
