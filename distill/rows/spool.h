#pragma once
// Rows that wait on disk between two stages, in a file without a name that is gone with us.

#include <memory>
#include <string_view>

#include "core/file.h"

namespace lancet {

class Spool {
 public:
  /// In the directory of `beside`. Error(kResource) when it cannot be made or written.
  explicit Spool(const fs::path& beside);
  ~Spool();
  Spool(const Spool&) = delete;
  Spool& operator=(const Spool&) = delete;

  void add(std::string_view bytes);
  void add_line(std::string_view line);
  /// Everything added so far is in the file that path() opens.
  void finish();
  [[nodiscard]] fs::path path() const;

 private:
  int fd_ = -1;
  std::string buffer_;
  void flush();
};

}  // namespace lancet
