// Phase 1 of the GGUF reader. Duplicates are found by sorting: neither quadratic nor open to hash
// flooding.

#include "formats/containers/gguf_spans.h"

#include <algorithm>
#include <numeric>

namespace lancet::gguf {
namespace {

constexpr std::uint64_t kMaxKeyBytes = 65535;
constexpr std::uint64_t kMaxNameBytes = 64;
constexpr std::uint64_t kMinKeyBytes = 8 + 1 + 4 + 1;  // length, one letter, type, u8
constexpr std::uint64_t kMinTensorBytes =
    8 + 1 + 4 + 4 + 8;  // length, one letter, n_dims, type, offset

/// Memory beyond the bytes of the header itself, in all: what entries and widened elements may add.
constexpr std::uint64_t kMaxOverhead = 256ULL << 20;
constexpr std::uint64_t kEntryOverhead = 256;
constexpr std::uint64_t kStringOverhead = 48;

class SpanReader {
 public:
  explicit SpanReader(Cursor& in) : in_(in) {}

  Spans read() {
    read_magic();
    const std::uint64_t tensors_at = in_.offset();
    const auto tensors = in_.number<std::uint64_t>("tensor count");
    const auto keys = in_.count(kMinKeyBytes, "metadata count");
    in_.check_count(tensors, kMinTensorBytes, tensors_at, "tensor count");
    for (std::uint64_t i = 0; i < keys; ++i) read_key();
    in_.set_subject({});
    in_.check_count(tensors, kMinTensorBytes, tensors_at, "tensor count");
    for (std::uint64_t i = 0; i < tensors; ++i) read_tensor();
    in_.set_subject({});
    spans_.end = in_.offset();
    return std::move(spans_);
  }

 private:
  Cursor& in_;
  Spans spans_;
  std::uint64_t overhead_ = 0;

  void read_magic() {
    constexpr std::uint32_t kMagic = 0x46554747;  // "GGUF"
    const auto magic = in_.number<std::uint32_t>("magic");
    if (magic != kMagic) {
      in_.reject(0, "the magic 'GGUF'", fmt::format("0x{:08x}", magic), "this is not a GGUF file");
    }
    const auto version = in_.number<std::uint32_t>("version");
    if (version != 0 && (version & 0xFFFFU) == 0) {
      in_.reject(4, "a little-endian file", "a big-endian one (its version is byte-swapped)",
                 "convert it with gguf-convert-endian");
    }
    if (version == 1) {
      in_.reject(4, "GGUF version 2 or 3", "version 1, of 32-bit counts",
                 "make the file again with a current llama.cpp");
    }
    if (version != 2 && version != 3) {
      in_.reject(4, "GGUF version 2 or 3", fmt::format("version {}", version));
    }
    spans_.version = version;
  }

  void charge(std::uint64_t count, std::uint64_t each, std::uint64_t at) {
    // count <= bytes of the file and each is small: no overflow
    overhead_ += count * each;
    if (overhead_ > kMaxOverhead) {
      in_.reject(at,
                 fmt::format("metadata that takes at most {} more than its own size in memory",
                             human_bytes(kMaxOverhead)),
                 human_bytes(overhead_));
    }
  }

  void check_text(std::string_view text, std::uint64_t at, std::string_view what) const {
    if (const auto bad = find_invalid_utf8(text)) {
      in_.reject(at + 8 + *bad, fmt::format("UTF-8 in the {}", what), "an invalid byte sequence");
    }
  }

  /// Rules for keys and tensor names alike.
  void check_name(std::string_view name, std::uint64_t at, std::uint64_t limit,
                  std::string_view what) const {
    if (name.empty()) in_.reject(at, fmt::format("a {}", what), "an empty one");
    if (name.size() > limit) {
      in_.reject(at, fmt::format("a {} of at most {} bytes", what, limit),
                 fmt::format("{}", name.size()));
    }
    check_text(name, at, what);
    for (const char c : name) {
      if (static_cast<unsigned char>(c) >= 0x20 && c != 0x7F) continue;
      in_.reject(at, fmt::format("a {} without control characters", what),
                 fmt::format("'{}'", printable(name)));
    }
  }

  GgufType read_type(std::string_view what) {
    const std::uint64_t at = in_.offset();
    const auto id = in_.number<std::uint32_t>(what);
    if (id > static_cast<std::uint32_t>(GgufType::kF64)) {
      in_.reject(at, fmt::format("a valid {} (0 to 12)", what), fmt::to_string(id));
    }
    return static_cast<GgufType>(id);
  }

  void read_key() {
    KeySpan span;
    span.at = in_.offset();
    in_.set_subject(fmt::format("metadata entry {}", spans_.keys.size()));
    charge(1, kEntryOverhead, span.at);
    span.key = in_.text("key");
    check_name(span.key, span.at, kMaxKeyBytes, "key");
    in_.set_subject(fmt::format("key '{}'", printable(span.key)));
    span.type = read_type("value type");
    if (span.type == GgufType::kArray) {
      read_array(span);
    } else {
      span.value = in_.offset();
      skip_value(span.type);
    }
    spans_.keys.push_back(span);
  }

  void read_array(KeySpan& span) {
    const std::uint64_t at = in_.offset();
    span.element = read_type("element type");
    if (span.element == GgufType::kArray)
      in_.reject(at, "an array of plain values", "an array of arrays");
    const std::uint64_t width = width_of(span.element);
    span.count = in_.count(width == 0 ? 8 : width, "array length");
    span.value = in_.offset();
    if (width != 0) {
      charge(span.count, 8 - width, at);
      in_.skip(span.count * width, "array elements");
      return;
    }
    charge(span.count, kStringOverhead, at);
    for (std::uint64_t i = 0; i < span.count; ++i) skip_value(GgufType::kString);
  }

  void skip_value(GgufType type) {
    if (type != GgufType::kString) return in_.skip(width_of(type), "value");
    const std::uint64_t at = in_.offset();
    check_text(in_.text("string"), at, "string");
  }

  void read_tensor() {
    TensorSpan span;
    span.at = in_.offset();
    in_.set_subject(fmt::format("tensor {}", spans_.tensors.size()));
    charge(1, kEntryOverhead, span.at);
    span.name = in_.text("tensor name");
    check_name(span.name, span.at, kMaxNameBytes, "tensor name");
    in_.set_subject(fmt::format("tensor '{}'", printable(span.name)));
    check_not_a_path(span.name, span.at);
    const std::uint64_t rank_at = in_.offset();
    span.rank = in_.number<std::uint32_t>("number of dimensions");
    if (span.rank > kMaxDims) {
      in_.reject(rank_at, fmt::format("at most {} dimensions", kMaxDims),
                 fmt::to_string(span.rank));
    }
    for (std::uint32_t i = 0; i < span.rank; ++i)
      span.dims[i] = in_.number<std::uint64_t>("dimension");
    span.type = in_.number<std::uint32_t>("tensor type");
    span.offset = in_.number<std::uint64_t>("tensor offset");
    spans_.tensors.push_back(span);
  }

  void check_not_a_path(std::string_view name, std::uint64_t at) const {
    for (std::size_t begin = 0; begin <= name.size();) {
      const std::size_t end = std::min(name.find_first_of("/\\", begin), name.size());
      if (name.substr(begin, end - begin) == "..") {
        in_.reject(at, "a tensor name without '..' between slashes",
                   fmt::format("'{}'", printable(name)));
      }
      begin = end + 1;
    }
  }
};

/// Throws if two spans bear the same name. `name(span)` is a string_view.
template <typename Span, typename Name>
void check_unique(Cursor& in, const std::vector<Span>& spans, std::string_view what, Name name) {
  std::vector<std::size_t> order(spans.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, [&](std::size_t a, std::size_t b) {
    const int compared = name(spans[a]).compare(name(spans[b]));
    return compared != 0 ? compared < 0 : a < b;
  });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const Span& first = spans[order[i - 1]];
    const Span& second = spans[order[i]];
    if (name(first) != name(second)) continue;
    in.reject(second.at, fmt::format("every {} once", what),
              fmt::format("'{}' again (first at offset {})", printable(name(second)), first.at));
  }
}

}  // namespace

std::uint64_t width_of(GgufType type) noexcept {
  switch (type) {
    case GgufType::kU8:
    case GgufType::kI8:
    case GgufType::kBool:
      return 1;
    case GgufType::kU16:
    case GgufType::kI16:
      return 2;
    case GgufType::kU32:
    case GgufType::kI32:
    case GgufType::kF32:
      return 4;
    case GgufType::kU64:
    case GgufType::kI64:
    case GgufType::kF64:
      return 8;
    case GgufType::kString:
    case GgufType::kArray:
      return 0;
  }
  return 0;
}

Spans read_spans(Cursor& in) {
  Spans spans = SpanReader(in).read();
  check_unique(in, spans.keys, "key", [](const KeySpan& span) { return span.key; });
  check_unique(in, spans.tensors, "tensor name", [](const TensorSpan& span) { return span.name; });
  return spans;
}

}  // namespace lancet::gguf
