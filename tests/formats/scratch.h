#pragma once
// A directory of its own for one test; removed with it.

#include <unistd.h>

#include <atomic>
#include <string>

#include "core/file.h"

namespace lancet {

class Scratch {
 public:
  Scratch() {
    static std::atomic<int> count{0};
    path_ = fs::temp_directory_path() /
            ("lancet_test_" + std::to_string(getpid()) + "_" + std::to_string(count++));
    fs::create_directories(path_);
  }
  ~Scratch() {
    std::error_code ignored;
    fs::remove_all(path_, ignored);
  }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;
  [[nodiscard]] const fs::path& path() const { return path_; }
  [[nodiscard]] fs::path operator/(const std::string& name) const { return path_ / name; }
  [[nodiscard]] bool empty() const { return fs::is_empty(path_); }

 private:
  fs::path path_;
};

}  // namespace lancet
