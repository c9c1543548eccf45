#include "distill/train/example_store.h"

#include "core/error.h"

namespace lancet {
namespace {

template <typename T>
void put(std::string& out, T value) {
  char bytes[sizeof(T)];
  store_le(bytes, value);
  out.append(bytes, sizeof(T));
}

template <typename T>
void put_all(std::string& out, const std::vector<T>& values) {
  out.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

/// Reads forward over bytes that we wrote ourselves.
class Cursor {
 public:
  Cursor(Bytes bytes, std::uint64_t at) : bytes_(bytes), at_(at) {}

  template <typename T>
  T take() {
    const T value = load_le<T>(here(sizeof(T)));
    at_ += sizeof(T);
    return value;
  }
  template <typename T>
  std::vector<T> take_all(std::size_t count) {
    std::vector<T> out(count);
    if (count > 0) std::memcpy(out.data(), here(count * sizeof(T)), count * sizeof(T));
    at_ += count * sizeof(T);
    return out;
  }

 private:
  Bytes bytes_;
  std::uint64_t at_;

  const std::byte* here(std::uint64_t length) const {
    if (length > bytes_.size() || at_ > bytes_.size() - length)
      fail(ErrorKind::kInternal, "train", "a tokenised row ends beyond its file");
    return bytes_.data() + at_;
  }
};

Example take_example(Cursor& cursor) {
  Example out;
  const auto tokens = cursor.take<std::uint32_t>();
  const auto places = cursor.take<std::uint32_t>();
  out.line = cursor.take<std::int64_t>();
  out.ids = cursor.take_all<std::int32_t>(tokens);
  const auto bits = cursor.take_all<std::uint8_t>((tokens + 7) / 8);
  out.target.resize(tokens);
  for (std::size_t t = 0; t < tokens; ++t)
    out.target[t] = static_cast<std::uint8_t>((bits[t / 8] >> (t % 8)) & 1);
  out.teacher.resize(places);
  for (TopK& top : out.teacher) {
    const std::size_t count = cursor.take<std::uint16_t>();
    top.ids = cursor.take_all<std::int32_t>(count);
    top.logprobs = cursor.take_all<float>(count);
  }
  return out;
}

}  // namespace

void append_example(const Example& example, std::string& out) {
  put(out, static_cast<std::uint32_t>(example.ids.size()));
  put(out, static_cast<std::uint32_t>(example.teacher.size()));
  put(out, example.line);
  put_all(out, example.ids);
  std::vector<std::uint8_t> bits((example.ids.size() + 7) / 8, 0);
  for (std::size_t t = 0; t < example.target.size(); ++t)
    bits[t / 8] = static_cast<std::uint8_t>(bits[t / 8] | ((example.target[t] & 1U) << (t % 8)));
  put_all(out, bits);
  for (const TopK& top : example.teacher) {
    put(out, static_cast<std::uint16_t>(top.ids.size()));
    put_all(out, top.ids);
    put_all(out, top.logprobs);
  }
}

void set_line(std::string& bytes, std::int64_t line) {
  store_le(bytes.data() + 2 * sizeof(std::uint32_t), line);
}

void ExampleStore::add(std::string_view bytes, std::uint32_t tokens, std::uint32_t targets) {
  begins_.push_back(bytes_);
  tokens_.push_back(tokens);
  targets_.push_back(targets);
  spool_.add(bytes);
  running_.update(bytes);
  bytes_ += bytes.size();
}

void ExampleStore::finish() {
  spool_.finish();
  hash_ = running_.hex();
  if (bytes_ > 0) file_.emplace(spool_.path());
}

Example ExampleStore::example(std::size_t row, int part) const {
  Cursor cursor(file_.value().bytes(), begins_.at(row));
  Example out = take_example(cursor);
  for (int i = 0; i < part; ++i) out = take_example(cursor);
  return out;
}

}  // namespace lancet
