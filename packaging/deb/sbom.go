package main

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"time"
)

// The parts of an SPDX 2.3 document that are used here (https://spdx.github.io/spdx-spec/v2.3).
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string      `json:"SPDXID"`
		Name      string      `json:"name"`
		Version   string      `json:"versionInfo"`
		Location  string      `json:"downloadLocation"`
		Analyzed  bool        `json:"filesAnalyzed"`
		Concluded string      `json:"licenseConcluded"`
		Declared  string      `json:"licenseDeclared"`
		Copyright string      `json:"copyrightText"`
		Purpose   string      `json:"primaryPackagePurpose,omitempty"`
		Checksums []checksum  `json:"checksums,omitempty"`
		Refs      []reference `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

// bill returns the list of all that is linked into a binary (a software bill of materials) in the
// form of SPDX 2.3.
func (r *release) bill(binary string, linked []module) ([]byte, error) {
	program, err := os.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	sum := fmt.Sprintf("%x", sha256.Sum256(program))
	uvs := describePackage("SPDXRef-uvs", module{path: "uvs", version: r.version, licence: "Apache-2.0"})
	uvs.Purpose = "APPLICATION"
	uvs.Checksums = []checksum{{"SHA256", sum}}
	d := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: "SPDXRef-DOCUMENT", Name: "uvs " + r.version,
		Namespace:     "urn:uvs:sbom:" + sum,
		Creation:      creation{r.at.Format(time.RFC3339), []string{"Tool: uvs-packaging"}},
		Packages:      []spdxPackage{uvs},
		Relationships: []relationship{{"SPDXRef-DOCUMENT", "DESCRIBES", uvs.ID}},
	}
	for i, m := range linked {
		p := describePackage(fmt.Sprintf("SPDXRef-%d", i), m)
		p.Purpose = "LIBRARY"
		p.Refs = []reference{{"PACKAGE-MANAGER", "purl", "pkg:golang/" + m.path + "@" + m.version}}
		d.Packages = append(d.Packages, p)
		d.Relationships = append(d.Relationships, relationship{uvs.ID, "STATIC_LINK", p.ID})
	}
	text, err := json.MarshalIndent(d, "", "  ")
	return append(text, '\n'), err
}

func describePackage(id string, m module) spdxPackage {
	return spdxPackage{ID: id, Name: m.path, Version: m.version, Location: "NOASSERTION",
		Concluded: m.licence, Declared: m.licence, Copyright: "NOASSERTION"}
}
