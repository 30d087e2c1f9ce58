#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <system_error>
#include <vector>

namespace digest {

/// What a walk meets: a file, or a directory that can not be read.
struct found {
    std::string path;
    std::error_code error;
};

/// Walks trees as `find -H ROOT... -type f` does, but meets the files in the byte order of their paths. Links
/// are followed if they are roots, and nowhere else. A root that is no directory is met as it is.
///
/// What has been seen but not met yet waits in a heap; a directory waits under its path and a slash, which
/// sorts directly before everything in it. So the order is right although the tree is never there as a whole:
/// the heap holds the siblings of the current directory and of those above it, and no more.
class walk {
public:
    /// Blocks.
    explicit walk(const std::vector<std::string>& roots);

    /// Goes some way, which is short even in a directory of millions, and tells what it met: maybe nothing.
    /// Blocks.
    std::vector<found> some();

    bool ended() const noexcept;

private:
    using directory_iterator = std::filesystem::directory_iterator;

    struct entry {
        std::string path;
        bool is_directory;
    };
    static bool comes_after(const entry& a, const entry& b) noexcept;

    void add(std::string path, bool is_directory);
    entry take_first();
    void step(std::vector<found>& met);
    void open_directory(std::string path, std::vector<found>& met);
    void read_entry(std::vector<found>& met);
    std::string name_of_directory() const;

    std::vector<entry> heap_;
    std::string directory_;  ///< the one that is being read, with its slash
    directory_iterator next_;
};

}  // namespace digest
