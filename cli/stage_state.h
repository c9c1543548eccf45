#pragma once
// What a job has done already: OUTPUT/distill.json. A stage is up to date when its settings, the
// bytes of its inputs and the bytes of its outputs are those that were recorded.

#include <cstdint>
#include <string>
#include <vector>

#include "core/file.h"
#include "core/json.h"

namespace lancet {

class StageState {
 public:
  /// Reads FOLDER/distill.json where there is one; kInput when it is damaged.
  explicit StageState(const fs::path& folder);

  /// SHA-256 of a file, remembered for its size and time of change.
  [[nodiscard]] std::string hash(const fs::path& file);
  /// Of each file: of a folder those that stand in it, by name; of MODEL+ADAPTER both.
  [[nodiscard]] Json hashes(const std::vector<fs::path>& inputs);

  /// "" when the stage is done under this key and its outputs are as they were, else why not.
  [[nodiscard]] std::string stale(const std::string& stage, const std::string& key);
  /// The stage was begun under this key and not finished: its command may go on where it stopped.
  [[nodiscard]] bool was_begun(const std::string& stage, const std::string& key) const;
  void begin(const std::string& stage, const std::string& key);
  void finish(const std::string& stage, const std::vector<fs::path>& outputs, const Json& result,
              double seconds);
  [[nodiscard]] Json result(const std::string& stage) const;

 private:
  fs::path path_;
  Json state_;
  void save() const;
};

}  // namespace lancet
