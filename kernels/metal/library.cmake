# The Metal library: every kernels/metal/*.metal, compiled and linked into one file, which metal_library.S puts into
# oss_core. If it cannot be built, OSS_METAL_ABSENT has the reason, and native/backend/metal/absent.cpp says it.
# Included by the CMakeLists.txt of the root, after oss_core.
option(OSS_METAL "build the Metal kernels where there is Apple's compiler" ON)

# -fno-fast-math and -ffp-contract=off: the operations that are written, in their order. metal3.1 is of macOS 14.
set(OSS_METAL_FLAGS -std=metal3.1 -mmacosx-version-min=14.0 -O2 -fno-fast-math -ffp-contract=off -I${CMAKE_SOURCE_DIR})
set(metal ${CMAKE_BINARY_DIR}/metal)

# The compiler comes with Xcode. The Command Line Tools alone do not have it, and since Xcode 26 it is a further download.
function(oss_find_metal)
  set(absent "")
  if(NOT APPLE)
    set(absent "built for macOS on Apple silicon only")
  elseif(NOT OSS_METAL)
    set(absent "switched off with OSS_METAL")
  elseif(NOT OSS_METAL_WORKS)
    file(WRITE ${metal}/works.metal "#include <metal_stdlib>\nkernel void works(device float* y [[buffer(0)]]) { y[0] = 1; }\n")
    execute_process(COMMAND xcrun -sdk macosx metal ${OSS_METAL_FLAGS} -c works.metal -o works.air
      COMMAND_ECHO NONE WORKING_DIRECTORY ${metal} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
    if(NOT failed)
      execute_process(COMMAND xcrun -sdk macosx metallib works.air -o works.metallib
        WORKING_DIRECTORY ${metal} RESULT_VARIABLE failed OUTPUT_VARIABLE said ERROR_VARIABLE said)
    endif()
    if(failed)
      string(REGEX MATCH "[^\n]*error[^\n]*" line "${said}")
      string(REGEX REPLACE "[\"\\\\]" "'" line "${line}")  # it becomes a string in C++
      string(REPLACE ";" "," line "${line}")
      set(absent "Apple's Metal compiler does not work here: ${line}. It comes with Xcode, since Xcode 26 by xcodebuild -downloadComponent MetalToolchain")
    else()
      set(OSS_METAL_WORKS TRUE CACHE INTERNAL "there is a Metal compiler that works")
    endif()
  endif()
  set(OSS_METAL_ABSENT "${absent}" PARENT_SCOPE)
endfunction()

oss_find_metal()
file(WRITE ${CMAKE_BINARY_DIR}/metal-absent.txt "${OSS_METAL_ABSENT}")  # empty when it is built; native/build.mjs reads it
if(OSS_METAL_ABSENT)
  target_sources(oss_core PRIVATE native/backend/metal/absent.cpp)
  set_source_files_properties(native/backend/metal/absent.cpp PROPERTIES
    COMPILE_DEFINITIONS "OSS_METAL_ABSENT=\"${OSS_METAL_ABSENT}\"")
  return()
endif()

file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/metal/*.metal)
file(GLOB headers CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/kernels/metal/*.h ${CMAKE_SOURCE_DIR}/kernels/common/*.h)
foreach(source IN LISTS sources)
  get_filename_component(name ${source} NAME_WE)
  list(APPEND compiled ${metal}/${name}.air)
  add_custom_command(OUTPUT ${metal}/${name}.air
    COMMAND xcrun -sdk macosx metal ${OSS_METAL_FLAGS} -c ${source} -o ${metal}/${name}.air
    DEPENDS ${source} ${headers} COMMENT "Compiling ${name}.metal" VERBATIM)
endforeach()
add_custom_command(OUTPUT ${metal}/gpt_oss.metallib
  COMMAND xcrun -sdk macosx metallib ${compiled} -o ${metal}/gpt_oss.metallib
  DEPENDS ${compiled} COMMENT "Linking gpt_oss.metallib" VERBATIM)

enable_language(OBJCXX)
set(CMAKE_OBJCXX_FLAGS_RELEASE "-O3")
set_target_properties(oss_core PROPERTIES OBJCXX_VISIBILITY_PRESET hidden)
target_sources(oss_core PRIVATE native/backend/metal/metal_device.mm native/backend/metal/metal_library.S)
# Apple's headers change, and with them the warnings.
set_source_files_properties(native/backend/metal/metal_device.mm PROPERTIES COMPILE_OPTIONS "-fobjc-arc;-Wno-error")
set_source_files_properties(native/backend/metal/metal_library.S PROPERTIES
  INCLUDE_DIRECTORIES ${metal} OBJECT_DEPENDS ${metal}/gpt_oss.metallib)
target_link_libraries(oss_core PUBLIC "-framework Metal" "-framework Foundation")
