// safetensors reader. Rules beyond the reference's own: duplicate names, unknown fields, array-form
// entries, numbers other than plain naturals, unprintable or path-like names are refused; see
// docs/formats.md.
#include "formats/containers/safetensors.h"

#include <algorithm>
#include <array>
#include <tuple>
#include <utility>

#include <fmt/format.h>

#include "core/error.h"
#include "core/text.h"
#include "formats/containers/json_cursor.h"
#include "formats/containers/safetensors_limits.h"

namespace lancet {
namespace {

using namespace safetensors_limits;

constexpr std::string_view kOperation = "safetensors";

[[noreturn]] void refuse(std::string_view source, const std::string& message) {
  fail(ErrorKind::kInput, kOperation, fmt::format("{}: {}", source, message),
       "the file is damaged, cut short or not a safetensors file");
}

std::string in_quotes(std::string_view name) { return fmt::format("'{}'", printable(name)); }

/// One header entry: the tensor and its offsets relative to the data.
struct Entry {
  TensorInfo tensor;
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Header {
  std::vector<Entry> entries;
  std::map<std::string, std::string> metadata;
};

std::vector<std::int64_t> read_shape(JsonCursor& json) {
  std::vector<std::int64_t> shape;
  json.open_array("shape");
  for (bool first = true; json.next_element(first); first = false) {
    const std::uint64_t dim = json.natural("a dimension");
    if (dim > kMaxDimension) {
      json.fail_here(fmt::format("expected dimensions of at most 2^48, found {}", dim));
    }
    if (shape.size() == kMaxRank) {
      json.fail_here(fmt::format("expected at most {} dimensions, found more", kMaxRank));
    }
    shape.push_back(static_cast<std::int64_t>(dim));
  }
  return shape;
}

void read_offsets(JsonCursor& json, Entry& entry) {
  json.open_array("data_offsets");
  std::array<std::uint64_t, 2> pair{};
  std::size_t count = 0;
  for (bool first = true; json.next_element(first); first = false) {
    const std::uint64_t value = json.natural("an offset");
    if (count == 2) json.fail_here("expected two data_offsets, found more");
    pair[count++] = value;
  }
  if (count != 2) json.fail_here(fmt::format("expected two data_offsets, found {}", count));
  std::tie(entry.begin, entry.end) = std::tuple(pair[0], pair[1]);
  if (entry.end < entry.begin) {
    json.fail_here(
        fmt::format("expected data_offsets in order, found [{}, {}]", entry.begin, entry.end));
  }
}

DType read_dtype(JsonCursor& json) {
  const std::string name = json.string("dtype", 64);
  const auto dtype = dtype_from_safetensors(name);
  if (!dtype)
    json.fail_here(fmt::format("expected a safetensors dtype, found {}", in_quotes(name)));
  return *dtype;
}

Entry read_entry(JsonCursor& json, std::string name) {
  Entry entry;
  entry.tensor.name = std::move(name);
  std::array<bool, 3> seen{};
  std::string key;
  json.open_object("the entry");
  for (bool first = true; json.next_key(first, key); first = false) {
    const std::size_t field = key == "dtype"          ? 0
                              : key == "shape"        ? 1
                              : key == "data_offsets" ? 2
                                                      : 3;
    if (field == 3) {
      json.fail_here(
          fmt::format("expected dtype, shape or data_offsets, found the field {}", in_quotes(key)));
    }
    if (std::exchange(seen[field], true)) {
      json.fail_here(fmt::format("expected each field once, found {} again", in_quotes(key)));
    }
    if (field == 0) entry.tensor.dtype = read_dtype(json);
    if (field == 1) entry.tensor.shape = read_shape(json);
    if (field == 2) read_offsets(json, entry);
  }
  constexpr std::array<std::string_view, 3> kFields = {"dtype", "shape", "data_offsets"};
  for (std::size_t i = 0; i < seen.size(); ++i) {
    if (!seen[i]) json.fail_here(fmt::format("expected the field '{}', found none", kFields[i]));
  }
  return entry;
}

void read_metadata(JsonCursor& json, std::map<std::string, std::string>& metadata) {
  std::string key;
  std::uint64_t bytes = 0;
  json.open_object("__metadata__");
  for (bool first = true; json.next_key(first, key); first = false) {
    std::string value = json.string("a metadata value", kMaxMetadata);
    bytes += key.size() + value.size();
    if (bytes > kMaxMetadata) {
      json.fail_here(
          fmt::format("expected at most {} bytes of metadata, found more", kMaxMetadata));
    }
    if (!metadata.emplace(key, std::move(value)).second) {
      json.fail_here(
          fmt::format("expected each metadata key once, found {} again", in_quotes(key)));
    }
  }
}

Header read_header(std::string_view text, std::string_view source) {
  Header header;
  JsonCursor json(text, kOperation, source, 8);
  std::string key;
  bool metadata_seen = false;
  json.open_object("the header");
  for (bool first = true; json.next_key(first, key); first = false) {
    if (key == "__metadata__") {
      json.set_subject("__metadata__");
      if (std::exchange(metadata_seen, true))
        json.fail_here("expected one __metadata__, found another");
      read_metadata(json, header.metadata);
    } else {
      json.set_subject("tensor " + in_quotes(key));
      if (const auto problem = tensor_name_problem(key); !problem.empty()) json.fail_here(problem);
      if (header.entries.size() == kMaxTensors) {
        json.fail_here(fmt::format("expected at most {} tensors, found more", kMaxTensors));
      }
      header.entries.push_back(read_entry(json, key));
    }
    json.set_subject("header");
  }
  json.finish();
  return header;
}

void check_unique(const std::vector<Entry>& entries, std::string_view source) {
  std::vector<std::string_view> names;
  names.reserve(entries.size());
  for (const Entry& entry : entries) names.push_back(entry.tensor.name);
  std::ranges::sort(names);
  if (const auto twice = std::ranges::adjacent_find(names); twice != names.end()) {
    refuse(source, fmt::format("tensor {}: expected each name once in the header, found it twice",
                               in_quotes(*twice)));
  }
}

/// Bytes of the tensor from dtype and shape; refuses what does not fit 64 bits or whole bytes.
std::uint64_t expected_bytes(const TensorInfo& tensor, std::string_view source) {
  std::uint64_t elements = 1;
  if (std::ranges::find(tensor.shape, 0) != tensor.shape.end()) elements = 0;
  for (const std::int64_t dim : tensor.shape) {
    const auto product = checked_mul(elements, static_cast<std::uint64_t>(dim));
    if (!product) {
      refuse(source,
             fmt::format("tensor {}: expected a shape of fewer than 2^64 elements, found {}",
                         in_quotes(tensor.name), fmt::join(tensor.shape, "x")));
    }
    elements = *product;
  }
  const auto bytes = dtype_bytes(tensor.dtype, elements);
  if (!bytes) {
    refuse(source,
           fmt::format("tensor {}: expected {} elements of {} to fill whole bytes below 2^64 bits",
                       in_quotes(tensor.name), elements, dtype_info(tensor.dtype).name));
  }
  return *bytes;
}

/// Sorted entries must cover [0, data) exactly once.
void check_layout(const std::vector<Entry>& entries, std::uint64_t base, std::uint64_t data,
                  std::string_view source) {
  std::uint64_t previous = 0;
  for (std::size_t i = 0; i < entries.size(); ++i) {
    const Entry& entry = entries[i];
    const std::string name = in_quotes(entry.tensor.name);
    if (entry.begin < previous) {
      refuse(source,
             fmt::format(
                 "tensor {}: expected data from byte {} on, found data_offsets [{}, {}] that "
                 "overlap tensor {}",
                 name, previous, entry.begin, entry.end, in_quotes(entries[i - 1].tensor.name)));
    }
    if (entry.begin > previous) {
      refuse(source,
             fmt::format("tensor {}: expected data from byte {} on, found a gap up to byte {}",
                         name, previous, entry.begin));
    }
    const std::uint64_t bytes = expected_bytes(entry.tensor, source);
    if (entry.end - entry.begin != bytes) {
      refuse(
          source,
          fmt::format("tensor {}: expected {} bytes for {} [{}], found data_offsets [{}, {}] of {}",
                      name, bytes, dtype_info(entry.tensor.dtype).name,
                      fmt::join(entry.tensor.shape, ", "), entry.begin, entry.end,
                      entry.end - entry.begin));
    }
    if (entry.end > data) {
      refuse(source,
             fmt::format(
                 "tensor {}: expected its data to end at byte {}, found the file's end at byte {}",
                 name, checked_add(base, entry.end).value_or(UINT64_MAX), base + data));
    }
    previous = entry.end;
  }
  if (previous != data) {
    refuse(
        source,
        fmt::format("expected the file to end with its last tensor at byte {}, found {} more bytes",
                    base + previous, data - previous));
  }
}

/// Length of the JSON text, proven to lie inside the file.
std::uint64_t header_length(Bytes file, std::uint64_t file_size, std::string_view source) {
  if (file_size < 8 || file.size() < 8) {
    refuse(source, fmt::format("expected at least 8 bytes, found {} at byte 0",
                               std::min<std::uint64_t>(file.size(), file_size)));
  }
  const auto length = load_le<std::uint64_t>(file.data());
  if (length > kMaxHeader) {
    refuse(source,
           fmt::format("expected a header of at most {} bytes, found a length of {} at byte 0",
                       kMaxHeader, length));
  }
  if (length > file_size - 8 || length > file.size() - 8) {
    refuse(source, fmt::format("expected {} bytes of header at byte 8, found {}", length,
                               std::min<std::uint64_t>(file.size(), file_size) - 8));
  }
  return length;
}

}  // namespace

namespace safetensors_limits {

std::string tensor_name_problem(std::string_view name) {
  if (name.size() > kMaxName) {
    return fmt::format("expected a name of at most {} bytes, found {}", kMaxName, name.size());
  }
  for (const char c : name) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      return fmt::format("expected a printable name, found the control character {:#04x}", byte);
    }
  }
  std::size_t begin = 0;
  for (std::size_t i = 0; i <= name.size(); ++i) {
    if (i < name.size() && name[i] != '/' && name[i] != '\\') continue;
    const std::string_view part = name.substr(begin, i - begin);
    if (part == ".." || (part.empty() && i == 0 && !name.empty())) {
      return "expected a tensor name, found a path";
    }
    begin = i + 1;
  }
  return {};
}

}  // namespace safetensors_limits

SafetensorsHeader parse_safetensors(Bytes header, std::uint64_t file_size,
                                    std::string_view source) {
  const std::uint64_t length = header_length(header, file_size, source);
  const std::string_view text(reinterpret_cast<const char*>(header.data()) + 8, length);
  if (const auto bad = find_invalid_utf8(text)) {
    refuse(source, fmt::format("expected a header in UTF-8, found an invalid sequence at byte {}",
                               *bad + 8));
  }
  Header parsed = read_header(text, source);
  check_unique(parsed.entries, source);
  std::ranges::sort(parsed.entries, [](const Entry& a, const Entry& b) {
    return std::tie(a.begin, a.end, a.tensor.name) < std::tie(b.begin, b.end, b.tensor.name);
  });
  check_layout(parsed.entries, length + 8, file_size - 8 - length, source);

  SafetensorsHeader out;
  out.metadata = std::move(parsed.metadata);
  out.tensors.reserve(parsed.entries.size());
  for (Entry& entry : parsed.entries) {
    entry.tensor.offset = length + 8 + entry.begin;
    entry.tensor.bytes = entry.end - entry.begin;
    out.tensors.push_back(std::move(entry.tensor));
  }
  return out;
}

}  // namespace lancet
